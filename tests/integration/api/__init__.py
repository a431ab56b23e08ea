"""Tests of the API over real databases, a real Redis and a real server."""
