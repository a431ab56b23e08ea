"""Compare measured peaks of device memory with the plan's estimate, to correct the next plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from core.render import RenderRequest
from worker.memory.coefficients import Coefficients
from worker.memory.plan import MemoryPlan

MIN_PIXELS = 512 * 512
"""Smaller images are ignored: their peak is the prompt's encoding, which takes the same memory for all sizes."""


@dataclass
class PeakMemoryTracker:
    """`read_peak`: most bytes allocated since loading. `at_rest`: bytes allocated while nothing is rendered."""

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
        """Record a pass of `tokens` tokens, in parallel to the decodes of the requests in `decoding`."""
        estimate = self.plan.estimate
        decode = max((estimate.decode_bytes(each.width, each.height) for each in decoding), default=0)
        self._estimated = max(self._estimated, estimate.tokens_bytes(tokens) + decode)

    def note_decode(self, width: int, height: int) -> None:
        """Record the decode of an image of that size."""
        self._has_decoded = self._has_decoded or width * height >= MIN_PIXELS
        self._estimated = max(self._estimated, self.plan.estimate.decode_bytes(width, height))

    def learn(self) -> None:
        """Store the measured peak if it is higher than before. Call while idle."""
        measured = self.read_peak() - self.at_rest
        if measured <= self._learned or not self._has_decoded:
            return
        self._learned = measured
        uncorrected = int(self._estimated / self.plan.estimate.correction)
        self.coefficients.record(self.model, self.plan.policy, self.device_name, uncorrected, measured)


def track_cuda_peak(
    plan: MemoryPlan, coefficients: Coefficients, model: str, device_name: str, device: torch.device
) -> PeakMemoryTracker:
    """Return a tracker that counts present allocations as at rest: call after loading and warm-up."""
    torch.cuda.reset_peak_memory_stats(device)
    at_rest = torch.cuda.memory_allocated(device)
    return PeakMemoryTracker(
        plan, coefficients, model, device_name, at_rest, lambda: torch.cuda.max_memory_allocated(device)
    )
