"""Decide whether the denoiser multiplies in 8 bits: try it on the loaded model, keep it if the image stays close."""

from __future__ import annotations

import logging

from core.render import RenderRequest
from worker.memory.quantize import packed_matmul_form, supports_packed_matmul, use_packed_matmul
from worker.memory.tiers import PackedForm
from worker.models.libraries import Pipeline
from worker.pipelines.tuning.warmup import Warmup, raise_if_device_broken

log = logging.getLogger(__name__)
MAX_GREY_LEVELS: dict[PackedForm, float] = {"int8": 3.0, "fp8": 6.0}
"""Largest accepted mean difference from the image rendered with unpacked weights, after the steps of a warm-up."""


def choose_matmul(denoiser: Pipeline, warmup: Warmup, dtype: str, cpu_multiplies_int8: bool = False) -> str:
    """Enable 8-bit matmul where it works; return the form used: `int8`, `fp8` or the dtype.

    `cpu_multiplies_int8`: whether a CPU was measured to be faster at it than at unpacking.
    """
    form = packed_matmul_form(denoiser)
    if form is None:
        return dtype
    on_cpu = warmup.device.type == "cpu" and form == "int8" and cpu_multiplies_int8
    if not on_cpu and not supports_packed_matmul(form, warmup.device):
        log.info("matmul in %s: 8-bit weights are unpacked, this device does not multiply in %s", dtype, form)
        return dtype
    # A CPU takes seconds for its smallest image, and minutes for the usual one.
    return form if try_packed_matmul(denoiser, form, warmup, warmup.smallest() if on_cpu else warmup.usual()) else dtype


def try_packed_matmul(denoiser: Pipeline, form: PackedForm, warmup: Warmup, request: RenderRequest | None = None) -> bool:
    """Enable 8-bit matmul unless it raises or changes the image of `request`, the usual one if None; log the outcome."""
    request = request or warmup.usual()
    unpacked = warmup.render([request])
    use_packed_matmul(denoiser, True)
    try:
        multiplied = warmup.render([request])
    except Exception as error:  # noqa: BLE001 - after any error, weights can be unpacked instead
        raise_if_device_broken(error, f"matmul in {form}", "Name another IMAGEFARM_MEMORY_POLICY.")
        use_packed_matmul(denoiser, False)
        log.warning("matmul in %s does not work here, weights are unpacked instead: %s", form, error)
        return False
    distance = multiplied.distance(unpacked)
    summary = (
        f"{distance:.2f} grey levels from unpacked weights, {multiplied.seconds:.4f} s a step, not {unpacked.seconds:.4f}"
    )
    if distance > MAX_GREY_LEVELS[form]:
        use_packed_matmul(denoiser, False)
        log.warning("matmul in %s is too coarse for this model, weights are unpacked instead: %s", form, summary)
        return False
    log.info("matmul in %s: %s", form, summary)
    return True
