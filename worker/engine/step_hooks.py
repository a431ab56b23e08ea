"""Hook into a step's blocks: abort it once all its requests are canceled, and report how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn


class StepAborted(Exception):
    """All requests of the pass were canceled: how far each has come matters no more."""


class StepAborter:
    """Asks, before each of `blocks` is computed, `all_canceled` of the requests at work."""

    def __init__(self, blocks: Iterable[nn.Module], all_canceled: Callable[[list[str]], bool]) -> None:
        self._all_canceled = all_canceled
        self._at_work: list[str] = []
        for block in blocks:
            block.register_forward_pre_hook(self._ask)

    @contextmanager
    def when_canceled(self, request_ids: list[str]) -> Iterator[None]:
        """Its body is their step; it may raise StepAborted."""
        self._at_work = request_ids
        try:
            yield
        finally:
            self._at_work = []

    def _ask(self, *_: object) -> None:
        if self._at_work and self._all_canceled(self._at_work):
            raise StepAborted


def repeated_blocks(denoiser: nn.Module) -> list[nn.Module]:
    """The parts alike that a step passes through one after another."""
    repeated = set(getattr(denoiser, "_repeated_blocks", None) or ())
    return [module for module in denoiser.modules() if type(module).__name__ in repeated]


REPORT_INTERVAL_SECONDS = 2.0
"""Between two times that are told; a step that is done sooner says nothing before its end."""
OnStepFraction = Callable[[float], None]
"""Hears a share: above 0, at most 1."""


def _ignore_fraction(_part: float) -> None:
    """Outside of a step."""


class StepProgress:
    """Counts `blocks` as they are computed. How many make a step is known from the last one; before there was one, from
    `once_each`: that a step passes once through each of them. Else nothing is told of the first step.

    Blocks count alike, whatever each takes: the part that is told is a guess.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], once_each: bool = True, pause_seconds: float = REPORT_INTERVAL_SECONDS
    ) -> None:
        self._pause = pause_seconds
        self._on_part: OnStepFraction = _ignore_fraction
        self._blocks_per_step = len(blocks) if once_each else 0
        self._blocks_done = 0
        self._reported_at = 0.0
        for block in blocks:
            block.register_forward_hook(self._count)

    @contextmanager
    def reporting_to(self, on_part: OnStepFraction) -> Iterator[None]:
        """Its body is a step; `on_part` hears what share of it is done, on the thread that computes it."""
        self._on_part, self._blocks_done, self._reported_at = on_part, 0, time.monotonic()
        try:
            yield
            self._blocks_per_step = self._blocks_done
        finally:
            self._on_part = _ignore_fraction

    def _count(self, *_: object) -> None:
        self._blocks_done += 1
        now = time.monotonic()
        if self._blocks_per_step and now - self._reported_at >= self._pause:
            self._reported_at = now
            # Something is left after the last one; and the first step of a picture passes through more than the next.
            self._on_part(min(self._blocks_done / (self._blocks_per_step + 1), 1.0))
