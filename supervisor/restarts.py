"""When a child that died may start again: soon at first, later each time, soon again once it has lived a while."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SECONDS = 0.5
CAP_SECONDS = 30.0
SETTLED_SECONDS = 60.0
"""A child that lived this long had started well: its next death counts as the first."""


@dataclass
class Restarts:
    """The back-off of one child."""

    failures: int = 0

    def next_delay_seconds(self, lived_seconds: float) -> float:
        """Note one more death after `lived_seconds`; how long to wait before the next start."""
        self.failures = 1 if lived_seconds >= SETTLED_SECONDS else self.failures + 1
        return float(min(FIRST_SECONDS * 2 ** (self.failures - 1), CAP_SECONDS))
