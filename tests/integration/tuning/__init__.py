"""Tests of GPU tuning, run on a CPU with what a CPU supports."""
