"""Tests of the normalisation of requests and batches."""
