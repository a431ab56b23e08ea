"""Tests of weights that stay packed as their files store them."""
