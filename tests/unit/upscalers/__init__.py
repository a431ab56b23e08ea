"""Tests of the upscalers."""
