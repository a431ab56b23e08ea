"""Benchmarks that need a card, rehearsed without one."""
