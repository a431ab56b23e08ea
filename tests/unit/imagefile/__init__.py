"""Tests of image files and their metadata."""
