"""What makes a GPU fast: compiled blocks and the attention backend, set once, tried out before the first request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from core.catalogue import CatalogueModel
from core.errors import RenderError
from core.render import RenderRequest
from worker.pipelines.family import AnyFamily
from worker.pipelines.untyped import Pipeline

log = logging.getLogger(__name__)
NATIVE = "native"
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Tuning:
    """What was done, for the record of every image. `compiled_blocks`: `true`, `false`, or `failed` where it was tried."""

    attention_backend: str
    compiled_blocks: str


def set_attention(pipeline: Pipeline, backend: str) -> None:
    """Process-wide, so once; RenderError `invalid_input` for a backend that cannot be had."""
    if backend == NATIVE:
        return
    try:
        denoiser_of(pipeline).set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError, AttributeError) as error:
        raise RenderError(f"The attention backend '{backend}' cannot be used here: {error}", code="invalid_input") from error


def compile_and_try(pipeline: Pipeline, try_out: Callable[[], None]) -> str:
    """Compile the denoiser's repeated blocks and run `try_out`; without a working compiler, all is as before.

    Returns `Tuning.compiled_blocks`.
    """
    denoiser = denoiser_of(pipeline)
    if not getattr(denoiser, "_repeated_blocks", None):
        try_out()
        return "false"
    denoiser.compile_repeated_blocks(fullgraph=True)
    try:
        try_out()
    except Exception:
        log.warning("compiling the model's blocks failed: rendering without, more slowly", exc_info=True)
    else:
        return "true"
    for module in denoiser.modules():
        module._compiled_call_impl = None
    try_out()
    return "failed"


def denoiser_of(pipeline: Pipeline) -> Pipeline:
    """The part that runs once a step."""
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet


@torch.no_grad()
def warm_up(family: AnyFamily, model: CatalogueModel, on_progress: Callable[[str, float | None], None]) -> None:
    """Render the model's default size once alone and once as a pair, so that no user waits for compilers.

    Raises what the family raises.
    """
    on_progress("warming up", None)
    requests = [_request(model, index) for index in range(2)]
    for company in ([requests[0]], requests):
        samples = [family.start(request, family.encode(request), b"") for request in company]
        for _ in range(WARM_UP_STEPS):
            family.step(samples)
        for sample in samples:
            family.decode(sample)
            family.close(sample)


def _request(model: CatalogueModel, index: int) -> RenderRequest:
    return RenderRequest(
        id=f"warm-up/1/{index}",
        prompt="a lighthouse at dusk",
        width=model.defaults.width,
        height=model.defaults.height,
        num_inference_steps=WARM_UP_STEPS,
        guidance_scale=model.defaults.guidance_scale,
        seed=index,
    )
