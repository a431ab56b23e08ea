"""Models on disk: locating, building, pulling, converting and loading them."""
