"""The API's request and answer shapes, shared by the API and the typed client."""
