"""Tests of compose.yaml, deploy/ and the built package."""
