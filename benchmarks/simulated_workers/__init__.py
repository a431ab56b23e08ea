"""Simulated workers: the worker's own code from the hint to the stored image, and an engine that only waits."""
