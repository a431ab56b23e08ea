"""Tests of the engine with real pipelines and real processes."""
