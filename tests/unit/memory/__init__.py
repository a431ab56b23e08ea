"""Tests of memory tiers without torch."""
