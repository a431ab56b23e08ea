"""Tests of the image store and of exports."""
