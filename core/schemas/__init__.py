"""Request and response schemas, shared by the API and the typed client."""
