"""Benchmarks that need a GPU, run dry on a CPU."""
