"""Watch how much memory forward passes really take, and teach the coefficient of this model, tier and card."""

from __future__ import annotations

from collections.abc import Callable

import torch

from worker.memory.coefficients import Coefficients
from worker.memory.device import device_name
from worker.memory.plan import MemoryPlan


class PeakRecorder:
    """Call `begin` before a pass and `end` after it. Writes only when a pass needed more, for its size, than any before.

    `read_peak` gives the most bytes allocated since `reset`, `read_now` those allocated now.
    """

    def __init__(
        self,
        model_id: str,
        plan: MemoryPlan,
        card: str,
        coefficients: Coefficients,
        reset: Callable[[], None],
        read_now: Callable[[], int],
        read_peak: Callable[[], int],
    ) -> None:
        self._key = (model_id, plan.policy, card)
        self._estimate = plan.estimate
        self._coefficients = coefficients
        self._reset, self._read_now, self._read_peak = reset, read_now, read_peak
        self._before = 0
        self._worst = 0.0

    def begin(self) -> None:
        """A pass is about to start."""
        self._reset()
        self._before = self._read_now()

    def end(self, tokens: int) -> None:
        """It is over; `tokens` is how many 16x16-pixel patches it took, CFG pairs counted twice."""
        estimated = int(self._estimate.tokens_bytes(tokens) / self._estimate.correction)
        measured = self._read_peak() - self._before
        if estimated > 0 and measured / estimated > self._worst:
            self._worst = measured / estimated
            self._coefficients.record(*self._key, estimated=estimated, measured=measured)


def cuda_recorder(model_id: str, plan: MemoryPlan, device: torch.device, coefficients: Coefficients) -> PeakRecorder | None:
    """A recorder over torch's own counters; None on a CPU, which has none."""
    if device.type != "cuda":
        return None
    return PeakRecorder(
        model_id,
        plan,
        device_name(device),
        coefficients,
        reset=lambda: torch.cuda.reset_peak_memory_stats(device),
        read_now=lambda: torch.cuda.memory_allocated(device),
        read_peak=lambda: torch.cuda.max_memory_allocated(device),
    )
