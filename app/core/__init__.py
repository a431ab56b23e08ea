"""See `app.core.generator`."""
