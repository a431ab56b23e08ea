"""Tune a model for its device: attention, matmul, compiled blocks and warm-up, each based on the previous choices."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from worker.models.libraries import Pipeline, denoiser_of
from worker.pipelines.tuning.attention import AUTO, EXCLUSIVE, NATIVE, choose_attention, local_backends, set_attention
from worker.pipelines.tuning.compiling import compile_and_try
from worker.pipelines.tuning.joining import choose_joining
from worker.pipelines.tuning.matmul import choose_matmul
from worker.pipelines.tuning.warmup import OnProgress, Warmup, warm_up

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningOptions:
    """`attention_backend`: a name of diffusers' dispatch, or `auto`. `compile_mode`: one of torch.compile's.

    `cpu_multiplies_int8`: whether 8-bit weights are multiplied in 8 bits on a CPU, if the image stays close.
    """

    attention_backend: str
    compile_blocks: bool
    compile_mode: str
    cpu_multiplies_int8: bool = False


@dataclass(frozen=True)
class Tuning:
    """The tuning results, for the record of every image.

    `compiled_blocks`: `true`, `false`, or `failed`. `matmul`: the form in which the denoiser's packed weights are
    multiplied, `int8`, `fp8` or the dtype. `joined_projections`: whether queries, keys and values are one product.
    """

    attention_backend: str
    compiled_blocks: str
    compile_mode: str
    matmul: str
    joined_projections: bool = False

    @property
    def allows_concurrent_compute(self) -> bool:
        """Whether other threads may compute during steps."""
        return self.attention_backend not in EXCLUSIVE

    def versions(self) -> dict[str, str]:
        """Return the entries for the versions that an image depends on."""
        mode = {"compile_mode": self.compile_mode} if self.compiled_blocks == "true" else {}
        joined = {"projections": "joined"} if self.joined_projections else {}
        return {"compiled_blocks": self.compiled_blocks, "matmul": self.matmul, **mode, **joined}


def tune(pipeline: Pipeline, warmup: Warmup, options: TuningOptions, dtype: str, on_progress: OnProgress) -> Tuning:
    """Choose and try all options before the first request, so that no request on a GPU waits for compilers or kernels."""
    is_cuda = warmup.device.type == "cuda"
    on_progress("tuning", None)
    backend = _attention(pipeline, warmup, options.attention_backend)
    matmul = choose_matmul(denoiser_of(pipeline), warmup, dtype, options.cpu_multiplies_int8)
    joined = choose_joining(denoiser_of(pipeline), warmup)
    try_out = partial(warm_up, warmup, on_progress)
    compiled = "false"
    if options.compile_blocks:
        backend, compiled = _compile(pipeline, backend, options, try_out)
    elif is_cuda:
        try_out()
    return Tuning(backend, compiled, options.compile_mode, matmul, joined)


def _attention(pipeline: Pipeline, warmup: Warmup, wanted: str) -> str:
    if wanted == AUTO:
        return choose_attention(pipeline, warmup, local_backends()) if warmup.device.type == "cuda" else NATIVE
    set_attention(pipeline, wanted)
    return wanted


def _compile(pipeline: Pipeline, backend: str, options: TuningOptions, try_out: partial[None]) -> tuple[str, str]:
    """Return (attention backend, compiled blocks); an automatic backend must not prevent compilation."""
    compiled = compile_and_try(pipeline, options.compile_mode, try_out)
    if compiled != "failed" or options.attention_backend != AUTO or backend == NATIVE:
        return backend, compiled
    log.warning("compiling again, with the native attention backend instead of %s", backend)
    set_attention(pipeline, NATIVE)
    return NATIVE, compile_and_try(pipeline, options.compile_mode, try_out)
