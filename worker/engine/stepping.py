"""One step of a batch in which one member's trouble stays its own."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from typing import Any

import torch

from worker.engine.faults import BrokenDevice, is_broken_device, is_out_of_memory
from worker.pipelines.family import AnyFamily

log = logging.getLogger(__name__)


def step_apart(family: AnyFamily, samples: Sequence[Any]) -> dict[Any, BaseException]:
    """Step all samples, together if that works, else one by one; returns those that failed even so.

    A batch that fails is split and each member tried once alone; a single that ran out of memory is tried once more
    with the caches empty. Raises BrokenDevice when no further try can work.
    """
    before = {sample: sample.step for sample in samples}
    error = _try(family, samples)
    if error is None:
        return {}
    if len(samples) == 1 and not is_out_of_memory(error):
        return {samples[0]: error}
    log.warning("a step of %d images failed, trying them one by one: %s", len(samples), error)
    if is_out_of_memory(error):
        free_cached_memory()
    # Should the error have come after some had moved on already, these must not take the step twice.
    again = {sample: _try(family, [sample]) for sample, step in before.items() if sample.step == step}
    return {sample: error for sample, error in again.items() if error is not None}


def _try(family: AnyFamily, samples: Sequence[Any]) -> BaseException | None:
    try:
        family.step(samples)
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
