"""Choose the requests of the next micro-batch and run one step of it."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch

from worker.device.faults import BrokenDevice, is_broken_device, is_out_of_memory
from worker.device.torch_device import free_cached_memory
from worker.engine.step_hooks import StepAborted
from worker.pipelines.family import AnyFamily


class Schedulable(Protocol):
    """`group`: only equal groups share a pass. `tokens`: its size in a pass. `due`: see `VirtualClock`."""

    @property
    def group(self) -> Hashable: ...
    @property
    def tokens(self) -> int: ...
    @property
    def due(self) -> int: ...


C = TypeVar("C", bound=Schedulable)


def choose_micro_batch(candidates: Sequence[C], token_budget: int) -> list[C]:
    """Return the candidate that is due first and those that may share its pass, in order of `due`, within the budget.

    The first is taken whatever its size, so that a request above the budget runs alone instead of never.
    """
    in_order = sorted(candidates, key=lambda candidate: candidate.due)
    if not in_order:
        return []
    leader = in_order[0]
    batch, tokens = [leader], leader.tokens
    for candidate in in_order[1:]:
        if candidate.group == leader.group and tokens + candidate.tokens <= token_budget:
            batch.append(candidate)
            tokens += candidate.tokens
    return batch


class VirtualClock:
    """Count the tokens that the device has processed; a request is due at its arrival plus its own cost.

    Requests of equal cost run in arrival order, and a short one may overtake a long one. No request starves: only
    requests that arrive before the device has done as much work as the request costs can overtake it.
    """

    def __init__(self) -> None:
        self._now = 0

    def due(self, cost_tokens: int) -> int:
        """Return when a request that arrives now is due; `cost_tokens`: its tokens over all its steps."""
        return self._now + cost_tokens

    def advance(self, tokens: int) -> None:
        self._now += tokens


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
