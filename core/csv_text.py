"""Texts in CSV files that people open in a spreadsheet."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters by which spreadsheets take a cell as a formula."""


def cell_text(text: str) -> str:
    """Return a text for a cell; one that a spreadsheet would compute begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text
