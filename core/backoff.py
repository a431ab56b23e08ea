"""Capped exponential backoff."""

from __future__ import annotations

_MOST_DOUBLINGS = 64
"""Past this, every sensible cap is reached; an unbounded exponent overflows a float after 1,024 failures."""


def backoff_seconds(failures: int, first_seconds: float, cap_seconds: float) -> float:
    """Return the pause after the `failures`-th failure in a row (from 1): `first_seconds`, doubled each time, capped."""
    doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
    return min(first_seconds * 2.0**doublings, cap_seconds)
