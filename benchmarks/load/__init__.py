"""A load generator that costs little itself."""
