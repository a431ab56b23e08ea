"""Decide whether the denoiser multiplies in 8 bits: tried on the loaded model, kept if its image stays close."""

from __future__ import annotations

import logging

from worker.memory.quantize import product_form, supports_product, use_product
from worker.memory.tiers import PackedForm
from worker.models.libraries import Pipeline
from worker.pipelines.tuning.warmup import Warmup, stop_if_broken

log = logging.getLogger(__name__)
MOST_GREY_LEVELS: dict[PackedForm, float] = {"int8": 3.0, "fp8": 6.0}
"""Largest mean difference from the image by unpacked weights after the warm-up's few steps."""


def choose_matmul(denoiser: Pipeline, warmup: Warmup, dtype: str) -> str:
    """Enable products in 8 bits where they work; return the form of products: `int8`, `fp8` or the dtype."""
    form = product_form(denoiser)
    if form is None:
        return dtype
    if not supports_product(form, warmup.device):
        log.info("products in %s: 8-bit weights are unpacked, this device does not multiply in %s", dtype, form)
        return dtype
    return form if try_product(denoiser, form, warmup) else dtype


def try_product(denoiser: Pipeline, form: PackedForm, warmup: Warmup) -> bool:
    """Enable products in 8 bits unless they raise or change the image; log the outcome."""
    unpacked = warmup.render([warmup.usual()])
    use_product(denoiser, True)
    try:
        multiplied = warmup.render([warmup.usual()])
    except Exception as error:  # noqa: BLE001 - after any error, weights can be unpacked instead
        stop_if_broken(error, f"products in {form}", "Name another IMAGEFARM_MEMORY_POLICY.")
        use_product(denoiser, False)
        log.warning("products in %s do not work here, weights are unpacked instead: %s", form, error)
        return False
    distance = multiplied.distance(unpacked)
    figures = (
        f"{distance:.2f} grey levels from unpacked weights, {multiplied.seconds:.4f} s a step, not {unpacked.seconds:.4f}"
    )
    if distance > MOST_GREY_LEVELS[form]:
        use_product(denoiser, False)
        log.warning("products in %s are too coarse for this model, weights are unpacked instead: %s", form, figures)
        return False
    log.info("products in %s: %s", form, figures)
    return True
