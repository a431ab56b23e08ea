"""Tests of wildcards and dynamic prompts."""
