"""Tests of the runner's parts, without a database."""
