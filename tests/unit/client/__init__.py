"""Tests of client/ that need no farm."""
