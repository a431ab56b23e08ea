"""Stores in buckets, against moto's server."""
