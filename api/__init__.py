"""The HTTP API: thin routes over the database, three faces over one queue."""
