"""Pinned host memory, in which streamed weights lie, no larger than what it holds."""

from __future__ import annotations

import logging

import torch

KEY = "pinned_max_cached_size_mb"
log = logging.getLogger(__name__)


def pin_exactly() -> None:
    """Torch rounds pinned memory up to powers of two, half as much again for the weights of Z-Image, to use it again.

    Above 1 MB it is taken as it is and given back at once from now on, unless the user has set that already.
    """
    try:
        told = torch._C._accelerator_getAllocatorSettings()
        if KEY not in told:
            # What is not repeated here would fall back to its default.
            torch._C._accelerator_setAllocatorSettings(",".join(filter(None, (told, f"{KEY}:1"))))
    except (AttributeError, RuntimeError, ValueError) as error:
        log.info("pinned memory is rounded up to powers of two by this version of torch: %s", error)
