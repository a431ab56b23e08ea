"""The package of `app.core.generator`."""
