"""Progress that is told often enough to be seen to move, and no more often."""

from __future__ import annotations

from collections.abc import Callable


def each_percent(tell: Callable[[float], None]) -> Callable[[float], None]:
    """Hears any number of fractions, passes on those that are another whole percent than the one before."""
    told = -1

    def hear(fraction: float) -> None:
        nonlocal told
        if (percent := int(fraction * 100)) != told:
            told = percent
            tell(fraction)

    return hear
