"""Tests of models on disk, without torch."""
