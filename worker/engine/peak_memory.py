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
    """`at_rest`: bytes allocated while nothing is rendered. `read_peak`: most bytes allocated since the last `restart_peak`,
    which returns the bytes that are allocated now.
    """

    plan: MemoryPlan
    coefficients: Coefficients
    model: str
    device_name: str
    at_rest: int
    read_peak: Callable[[], int]
    restart_peak: Callable[[], int]
    _estimated: int = field(default=0, init=False)
    _has_decoded: bool = field(default=False, init=False)
    _learned: int = field(default=0, init=False)

    def restart(self) -> None:
        """Begin again, with present allocations at rest. Call when the model is back after another one was loaded.

        The peak is the process's: without this, that of a larger model would count as this model's. It is then compared
        with the passes from now on, and not with earlier ones.
        """
        self.at_rest = self.restart_peak()
        self._estimated, self._has_decoded = 0, False

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
        # Weights that are on the device only while they are used belong to the plan's weights, not to its activations.
        weights = self.plan.estimate.resident if self.plan.tier.moves_weights else 0
        measured = self.read_peak() - max(self.at_rest, weights)
        if measured <= self._learned or not self._has_decoded:
            return
        self._learned = measured
        uncorrected = int(self._estimated / self.plan.estimate.correction)
        self.coefficients.record(self.model, self.plan.policy, self.device_name, uncorrected, measured)


def track_cuda_peak(
    plan: MemoryPlan, coefficients: Coefficients, model: str, device_name: str, device: torch.device
) -> PeakMemoryTracker:
    """Return a tracker that counts present allocations as at rest: call after loading and warm-up."""

    def restart() -> int:
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)

    return PeakMemoryTracker(
        plan, coefficients, model, device_name, restart(), lambda: torch.cuda.max_memory_allocated(device), restart
    )
