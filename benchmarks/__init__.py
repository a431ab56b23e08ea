"""Measurements; each prints ratios and tables from one run and is never a test of time."""
