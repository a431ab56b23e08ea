"""Tests of memory tiers and weight files."""
