"""Unchanged client programs and replayed requests of clients against a running API."""
