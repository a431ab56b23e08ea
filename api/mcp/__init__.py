"""MCP face: tools by which assistants render, over the farm's own HTTP API, so that keys, limits and owners are its."""
