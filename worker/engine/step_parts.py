"""How far a step has come while it is under way: on a CPU it may take minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

PAUSE_SECONDS = 2.0
"""Between two times that are told; a step that is done sooner says nothing before its end."""
OnPart = Callable[[float], None]
"""Hears a share: above 0, at most 1."""


def _nobody(_part: float) -> None:
    """Outside of a step."""


class StepParts:
    """Counts `blocks` as they are computed. How many make a step is known from the last one; before there was one, from
    `once_each`: that a step passes once through each of them. Else nothing is told of the first step.

    Blocks count alike, whatever each takes: the part that is told is a guess.
    """

    def __init__(self, blocks: Sequence[nn.Module], once_each: bool = True, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause = pause_seconds
        self._on_part: OnPart = _nobody
        self._of_a_step = len(blocks) if once_each else 0
        self._passed = 0
        self._told_at = 0.0
        for block in blocks:
            block.register_forward_hook(self._count)

    @contextmanager
    def told_to(self, on_part: OnPart) -> Iterator[None]:
        """Its body is a step; `on_part` hears what share of it is done, on the thread that computes it."""
        self._on_part, self._passed, self._told_at = on_part, 0, time.monotonic()
        try:
            yield
            self._of_a_step = self._passed
        finally:
            self._on_part = _nobody

    def _count(self, *_: object) -> None:
        self._passed += 1
        now = time.monotonic()
        if self._of_a_step and now - self._told_at >= self._pause:
            self._told_at = now
            # Something is left after the last one; and the first step of a picture passes through more than the next.
            self._on_part(min(self._passed / (self._of_a_step + 1), 1.0))
