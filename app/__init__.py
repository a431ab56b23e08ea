"""The Python call: `app.core.generator`."""
