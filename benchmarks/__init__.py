"""Benchmarks; each prints ratios and tables from one run and never fails on a time."""
