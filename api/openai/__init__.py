"""OpenAI face: images/generations over the same queue."""
