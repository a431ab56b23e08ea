"""Leave a step in its middle when nobody wants it any more: on a CPU it may have minutes to go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import nn


class StepAbandoned(Exception):
    """All requests of the pass were canceled: how far each has come matters no more."""


class Abandon:
    """Asks, before each of `blocks` is computed, `all_canceled` of the requests at work."""

    def __init__(self, blocks: Iterable[nn.Module], all_canceled: Callable[[list[str]], bool]) -> None:
        self._all_canceled = all_canceled
        self._at_work: list[str] = []
        for block in blocks:
            block.register_forward_pre_hook(self._ask)

    @contextmanager
    def when_canceled(self, request_ids: list[str]) -> Iterator[None]:
        """Its body is their step; it may raise StepAbandoned."""
        self._at_work = request_ids
        try:
            yield
        finally:
            self._at_work = []

    def _ask(self, *_: object) -> None:
        if self._at_work and self._all_canceled(self._at_work):
            raise StepAbandoned


def blocks_of(denoiser: nn.Module) -> list[nn.Module]:
    """The parts alike that a step passes through one after another."""
    repeated = set(getattr(denoiser, "_repeated_blocks", None) or ())
    return [module for module in denoiser.modules() if type(module).__name__ in repeated]
