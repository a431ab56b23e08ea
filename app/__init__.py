"""The Python call `app.core.generator`, for programs that want pictures and no job handling."""
