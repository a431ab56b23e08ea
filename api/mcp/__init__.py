"""MCP face: tools for assistants. They call the farm's own HTTP API, so keys, limits and owners apply."""
