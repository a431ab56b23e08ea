"""Checks of the page's files."""
