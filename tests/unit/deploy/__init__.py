"""Tests of compose.yaml, deploy/ and what is installed."""
