"""Choose the requests of the next micro-batch and run one step of it, with hooks that abort it and report its progress."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from worker.device.faults import BrokenDevice, is_broken_device, is_out_of_memory, release_tensors
from worker.device.torch_device import free_cached_memory
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
        # For the log, in words alone.
        error.add_note("".join(traceback.format_exception(error)))
        release_tensors(error)
        return error
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
