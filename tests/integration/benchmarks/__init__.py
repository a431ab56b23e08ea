"""Benchmarks that need a card, run dry on a CPU."""
