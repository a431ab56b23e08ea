"""Compare measured peaks of device memory with the plan's estimate, so that the next plan is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from core.render import RenderRequest
from worker.memory.coefficients import Coefficients
from worker.memory.plan import MemoryPlan

MIN_PIXELS = 512 * 512
"""Smaller pictures teach nothing: their peak is the prompt's encoding, which takes the same for all sizes."""


@dataclass
class PeakMemoryTracker:
    """`read_peak`: bytes at the worst moment since loading. `at_rest`: bytes while nothing is rendered."""

    plan: MemoryPlan
    coefficients: Coefficients
    model: str
    device_name: str
    at_rest: int
    read_peak: Callable[[], int]
    _estimated: int = field(default=0, init=False)
    _has_decoded: bool = field(default=False, init=False)
    _learned: int = field(default=0, init=False)

    def note_pass(self, tokens: int, decoding: Sequence[RenderRequest] = ()) -> None:
        """A pass of that many tokens went through, beside the decode of those."""
        estimate = self.plan.estimate
        beside = max((estimate.decode_bytes(each.width, each.height) for each in decoding), default=0)
        self._estimated = max(self._estimated, estimate.tokens_bytes(tokens) + beside)

    def note_decode(self, width: int, height: int) -> None:
        """A picture of that size was decoded."""
        self._has_decoded = self._has_decoded or width * height >= MIN_PIXELS
        self._estimated = max(self._estimated, self.plan.estimate.decode_bytes(width, height))

    def learn(self) -> None:
        """While idle: keep what the peak says, when it has grown since last time."""
        measured = self.read_peak() - self.at_rest
        if measured <= self._learned or not self._has_decoded:
            return
        self._learned = measured
        uncorrected = int(self._estimated / self.plan.estimate.correction)
        self.coefficients.record(self.model, self.plan.policy, self.device_name, uncorrected, measured)


def track_cuda_peak(
    plan: MemoryPlan, coefficients: Coefficients, model: str, device_name: str, device: torch.device
) -> PeakMemoryTracker:
    """What lies on the card now counts as at rest: call it once everything is loaded and warmed up."""
    torch.cuda.reset_peak_memory_stats(device)
    at_rest = torch.cuda.memory_allocated(device)
    return PeakMemoryTracker(
        plan, coefficients, model, device_name, at_rest, lambda: torch.cuda.max_memory_allocated(device)
    )
