"""Tests of the public Python client."""
