"""One step of a batch in which one member's trouble stays its own."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from worker.engine.abandon import StepAbandoned
from worker.engine.faults import BrokenDevice, is_broken_device, is_out_of_memory
from worker.pipelines.family import AnyFamily

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """`passes`: sample -> images in the pass that moved it on. `failed`: sample -> why it cannot."""

    passes: dict[Any, int] = field(default_factory=dict)
    failed: dict[Any, BaseException] = field(default_factory=dict)
    out_of_memory: bool = False


def step_apart(family: AnyFamily, samples: Sequence[Any]) -> Outcome:
    """Step all samples, together if that works, else one by one.

    A batch that fails is split and each member tried once alone; a single that ran out of memory is tried once more
    with the caches empty. Raises BrokenDevice when no further try can work, StepAbandoned when none is wanted.
    """
    before = {sample: sample.step for sample in samples}
    error = _try(family, samples)
    if error is None:
        return Outcome(passes=dict.fromkeys(samples, len(samples)))
    outcome = Outcome(out_of_memory=is_out_of_memory(error))
    if len(samples) == 1 and not outcome.out_of_memory:
        outcome.failed[samples[0]] = error
        return outcome
    log.warning("a step of %d images failed, trying them one by one: %s", len(samples), error)
    if outcome.out_of_memory:
        free_cached_memory()
    for sample in samples:
        # Should the error have come after some had moved on already, these must not take the step twice.
        again = _try(family, [sample]) if sample.step == before[sample] else None
        if again is None:
            outcome.passes[sample] = 1
        else:
            outcome.failed[sample] = again
    return outcome


def _try(family: AnyFamily, samples: Sequence[Any]) -> BaseException | None:
    try:
        family.step(samples)
    except StepAbandoned:
        raise
    except BaseException as error:
        if is_broken_device(error):
            raise BrokenDevice(str(error)) from error
        # The traceback holds the tensors of the failed pass: without it their memory can be freed.
        return error.with_traceback(None)
    return None


def free_cached_memory() -> None:
    """Give unused device memory back to whoever needs it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
