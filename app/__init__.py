"""The Python call `app.core.generator`, for programs that need images and no job handling."""
