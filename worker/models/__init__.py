"""Models on disk: find them, build them, pull them, convert them, load them."""
