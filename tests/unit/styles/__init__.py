"""Tests of styles and their files."""
