"""HTTP API: thin routes over the database, and three faces (native, OpenAI, A1111) over one queue."""
