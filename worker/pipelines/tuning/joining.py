"""Decide whether queries, keys and values are one product: try it on the loaded model, keep it if it is faster."""

from __future__ import annotations

import logging

from worker.models.joined_projections import join_projections, separate_for_good
from worker.models.libraries import Pipeline
from worker.pipelines.tuning.warmup import Warmup, raise_if_device_broken

log = logging.getLogger(__name__)
MAX_GREY_LEVELS = 2.0
"""Largest accepted mean difference from the image rendered with three products, after the steps of a warm-up."""
MIN_GAIN = 0.01
"""Gain, as a share of the step time, below which the stock products are kept."""


def choose_joining(denoiser: Pipeline, warmup: Warmup) -> bool:
    """Join the projections on a GPU if the image stays close and a step is faster; return whether they are joined."""
    return warmup.device.type == "cuda" and try_joining(denoiser, warmup, MIN_GAIN)


def try_joining(denoiser: Pipeline, warmup: Warmup, min_gain: float) -> bool:
    """Join them unless that raises, changes the image or gains less; log the outcome."""
    for _ in range(2):  # A first round selects kernels.
        apart = warmup.render([warmup.usual()])
    if not join_projections(denoiser):
        return False
    try:
        for _ in range(2):
            joined = warmup.render([warmup.usual()])
    except Exception as error:  # noqa: BLE001 - after any error, three products can be computed instead
        raise_if_device_broken(
            error, "one product for queries, keys and values", "Set IMAGEFARM_MEMORY_POLICY=int8 or offload."
        )
        separate_for_good(denoiser)
        log.warning("one product for queries, keys and values does not work here: %s", error)
        return False
    distance = joined.distance(apart)
    summary = f"{joined.seconds:.4f} s a step, not {apart.seconds:.4f}; {distance:.2f} grey levels from three products"
    if distance > MAX_GREY_LEVELS or joined.seconds > apart.seconds * (1 - min_gain):
        separate_for_good(denoiser)
        log.info("queries, keys and values stay three products: one takes %s", summary)
        return False
    log.info("queries, keys and values are one product: %s", summary)
    return True
