"""Tests of the web page's files."""
