"""Run one step of a micro-batch, isolating failures of single requests; keep at most one step ahead of the device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from worker.device.faults import BrokenDevice, is_broken_device, is_out_of_memory
from worker.device.torch_device import free_cached_memory
from worker.engine.step_hooks import StepAborted
from worker.pipelines.family import AnyFamily

log = logging.getLogger(__name__)


@dataclass
class StepOutcome:
    """`passes`: sample -> number of images in the pass that advanced it. `failed`: sample -> its error."""

    passes: dict[Any, int] = field(default_factory=dict)
    failed: dict[Any, BaseException] = field(default_factory=dict)
    out_of_memory: bool = False


def step_isolated(family: AnyFamily, samples: Sequence[Any]) -> StepOutcome:
    """Step all samples in one pass, or one by one if that pass fails.

    Each sample of a failed pass is tried once alone; a single sample that ran out of memory is tried once more with
    empty caches. Raises BrokenDevice when no further try can succeed, StepAborted when all requests were canceled.
    """
    before = {sample: sample.step for sample in samples}
    error = _try_step(family, samples)
    if error is None:
        return StepOutcome(passes=dict.fromkeys(samples, len(samples)))
    outcome = StepOutcome(out_of_memory=is_out_of_memory(error))
    if len(samples) == 1 and not outcome.out_of_memory:
        outcome.failed[samples[0]] = error
        return outcome
    log.warning("a step of %d images failed, trying them one by one: %s", len(samples), error)
    if outcome.out_of_memory:
        free_cached_memory()
    for sample in samples:
        # The error may have come after some samples had advanced: these must not take the step twice.
        retry_error = _try_step(family, [sample]) if sample.step == before[sample] else None
        if retry_error is None:
            outcome.passes[sample] = 1
        else:
            outcome.failed[sample] = retry_error
    return outcome


def _try_step(family: AnyFamily, samples: Sequence[Any]) -> BaseException | None:
    try:
        family.step(samples)
    except StepAborted:
        raise
    except BaseException as error:
        if is_broken_device(error):
            raise BrokenDevice(str(error)) from error
        # Drop the traceback: it keeps the tensors of the failed pass alive.
        return error.with_traceback(None)
    return None


class DevicePacer:
    """Keep the host at most one step ahead of a CUDA device, where calls only queue work; does nothing on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._last: Any = None

    def after_step(self) -> None:
        """Wait for the step before the one just queued: the device never idles and its queue never grows."""
        if not self._is_cuda:
            return
        # `blocking` makes the waiting thread sleep: spinning would take a core from text encoders on the CPU.
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        if self._last is not None:
            self._last.synchronize()
        self._last = event

    def settle(self) -> None:
        """Wait for all queued steps."""
        if self._is_cuda and self._last is not None:
            self._last.synchronize()
            self._last = None
