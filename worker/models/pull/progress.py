"""Progress of a pull in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["listing", "downloading", "converting", "hashing", "building", "verifying", "done"]


@dataclass(frozen=True)
class PullProgress:
    """`done_bytes` of `total_bytes` within the stage; `detail` is the current file."""

    stage: Stage
    done_bytes: int = 0
    total_bytes: int = 0
    detail: str = ""


OnPull = Callable[[PullProgress], None]


class Meter:
    """Counts bytes of one stage from several threads."""

    def __init__(self, stage: Stage, total_bytes: int, on_pull: OnPull) -> None:
        self._stage, self._total, self._on_pull = stage, total_bytes, on_pull
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int, detail: str = "") -> None:
        """Count bytes; `count` may be negative, for bytes that have to be downloaded again."""
        with self._lock:
            self._done += count
            self._on_pull(PullProgress(self._stage, self._done, self._total, detail))
