"""Hook into a step's blocks: abort it once all its requests are canceled, and report its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn


class StepAborted(Exception):
    """All requests of the pass were canceled during the step."""


class StepAborter:
    """Raise StepAborted before one of `blocks` runs, once `all_canceled` returns true for the requests of the step."""

    def __init__(self, blocks: Iterable[nn.Module], all_canceled: Callable[[list[str]], bool]) -> None:
        self._all_canceled = all_canceled
        self._stepping: list[str] = []
        self._handles = [block.register_forward_pre_hook(self._check) for block in blocks]

    def remove(self) -> None:
        """Remove the hooks from the blocks."""
        for handle in self._handles:
            handle.remove()

    @contextmanager
    def when_canceled(self, request_ids: list[str]) -> Iterator[None]:
        """Run the step of these requests as the body, which may raise StepAborted."""
        self._stepping = request_ids
        try:
            yield
        finally:
            self._stepping = []

    def _check(self, *_: object) -> None:
        if self._stepping and self._all_canceled(self._stepping):
            raise StepAborted


def repeated_blocks(denoiser: nn.Module) -> list[nn.Module]:
    """Return the transformer or UNet blocks that diffusers lists in `_repeated_blocks`, in order."""
    repeated = set(getattr(denoiser, "_repeated_blocks", None) or ())
    return [module for module in denoiser.modules() if type(module).__name__ in repeated]


REPORT_INTERVAL_SECONDS = 2.0
"""Least time between two reports; a shorter step reports nothing before its end."""
OnStepFraction = Callable[[float], None]
"""Takes the finished fraction of a step: above 0, at most 1."""


def _ignore_fraction(_part: float) -> None:
    """Do nothing: no step is running."""


class StepProgress:
    """Count `blocks` as they are computed and report the finished fraction of the step.

    The number of blocks in a step is taken from the previous step. Before there is one, `once_each` assumes that a step
    runs each block once; without it the first step reports nothing. The fraction is an estimate: blocks count equally.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], once_each: bool = True, interval_seconds: float = REPORT_INTERVAL_SECONDS
    ) -> None:
        self._interval = interval_seconds
        self._on_fraction: OnStepFraction = _ignore_fraction
        self._blocks_per_step = len(blocks) if once_each else 0
        self._blocks_done = 0
        self._reported_at = 0.0
        self._handles = [block.register_forward_hook(self._count) for block in blocks]

    def remove(self) -> None:
        """Remove the hooks from the blocks."""
        for handle in self._handles:
            handle.remove()

    @contextmanager
    def reporting_to(self, on_fraction: OnStepFraction) -> Iterator[None]:
        """Run a step as the body and report it to `on_fraction`, on the thread that computes the step."""
        self._on_fraction, self._blocks_done, self._reported_at = on_fraction, 0, time.monotonic()
        try:
            yield
            self._blocks_per_step = self._blocks_done
        finally:
            self._on_fraction = _ignore_fraction

    def _count(self, *_: object) -> None:
        self._blocks_done += 1
        now = time.monotonic()
        if self._blocks_per_step and now - self._reported_at >= self._interval:
            self._reported_at = now
            # Work remains after the last block, and the first step of an image runs more blocks than later ones.
            self._on_fraction(min(self._blocks_done / (self._blocks_per_step + 1), 1.0))
