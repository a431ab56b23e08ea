"""Models in single files load exactly as from a folder."""
