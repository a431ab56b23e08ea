"""Tests of models on disk that need no weights."""
