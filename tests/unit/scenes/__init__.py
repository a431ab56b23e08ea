"""Tests of the scenes and their report."""
