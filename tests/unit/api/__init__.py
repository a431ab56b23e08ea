"""Tests of the API without a server."""
