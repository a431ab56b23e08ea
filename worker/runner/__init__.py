"""From a hint to stored images: claiming, rendering through the engine, storing, finishing."""
