"""HTTP API: thin routes over the database, and five faces (native, OpenAI, A1111, ComfyUI, MCP) over one queue."""
