"""Compares measured peaks of device memory with the plan's estimate, so that the next plan is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from worker.memory.coefficients import Coefficients
from worker.memory.plan import MemoryPlan


@dataclass
class PeakWatch:
    """`read_peak`: bytes at the worst moment since loading. `at_rest`: bytes while nothing is rendered."""

    plan: MemoryPlan
    coefficients: Coefficients
    model: str
    device_name: str
    at_rest: int
    read_peak: Callable[[], int]
    _tokens: int = field(default=0, init=False)
    _pixels: tuple[int, int] = field(default=(0, 0), init=False)
    _learned: int = field(default=0, init=False)

    def note_pass(self, tokens: int) -> None:
        """A pass of that many tokens went through."""
        self._tokens = max(self._tokens, tokens)

    def note_decode(self, width: int, height: int) -> None:
        """A picture of that size was decoded."""
        if width * height > self._pixels[0] * self._pixels[1]:
            self._pixels = (width, height)

    def learn(self) -> None:
        """While idle: keep what the peak says, when it has grown since last time."""
        measured = self.read_peak() - self.at_rest
        if measured <= self._learned or not self._pixels[0]:
            return
        self._learned = measured
        estimate = self.plan.estimate
        estimated = max(estimate.tokens_bytes(self._tokens), estimate.decode_bytes(*self._pixels))
        uncorrected = int(estimated / estimate.correction)
        self.coefficients.record(self.model, self.plan.policy, self.device_name, uncorrected, measured)


def watch_cuda(
    plan: MemoryPlan, coefficients: Coefficients, model: str, device_name: str, device: torch.device
) -> PeakWatch:
    """What lies on the card now counts as at rest: call it once everything is loaded and warmed up."""
    torch.cuda.reset_peak_memory_stats(device)
    at_rest = torch.cuda.memory_allocated(device)
    return PeakWatch(plan, coefficients, model, device_name, at_rest, lambda: torch.cuda.max_memory_allocated(device))
