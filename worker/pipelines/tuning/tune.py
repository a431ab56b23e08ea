"""Everything that makes this model fast on this device, in the order in which one builds on the other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from worker.pipelines.tuning.attention import AUTO, choose_attention, local_backends, set_attention
from worker.pipelines.tuning.compiling import compile_and_try
from worker.pipelines.tuning.denoiser import denoiser_of
from worker.pipelines.tuning.kernels import NATIVE, SWITCHING
from worker.pipelines.tuning.matmul import choose_matmul
from worker.pipelines.tuning.rehearsal import OnProgress, Rehearsal, warm_up
from worker.pipelines.untyped import Pipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """`attention_backend`: a name of diffusers' dispatch, or `auto`. `compile_mode`: one of torch.compile's."""

    attention_backend: str
    compile_blocks: bool
    compile_mode: str


@dataclass(frozen=True)
class Tuning:
    """What was done, for the record of every image.

    `compiled_blocks`: `true`, `false`, or `failed` where it was tried. `matmul`: what the denoiser's packed weights are
    multiplied in, `int8`, `fp8` or the dtype.
    """

    attention_backend: str
    compiled_blocks: str
    compile_mode: str
    matmul: str

    @property
    def allows_company(self) -> bool:
        """Whether other threads may compute beside the steps."""
        return self.attention_backend not in SWITCHING

    def versions(self) -> dict[str, str]:
        """As they stand among the versions that a picture depends on."""
        mode = {"compile_mode": self.compile_mode} if self.compiled_blocks == "true" else {}
        return {"compiled_blocks": self.compiled_blocks, "matmul": self.matmul, **mode}


def tune(pipeline: Pipeline, rehearsal: Rehearsal, wishes: Wishes, dtype: str, on_progress: OnProgress) -> Tuning:
    """On a GPU nobody shall wait for compilers and kernels: all is tried out before the first request."""
    is_cuda = rehearsal.device.type == "cuda"
    on_progress("tuning", None)
    backend = _attention(pipeline, rehearsal, wishes.attention_backend)
    matmul = choose_matmul(denoiser_of(pipeline), rehearsal, dtype)
    try_out = partial(warm_up, rehearsal, on_progress)
    compiled = "false"
    if wishes.compile_blocks:
        backend, compiled = _compile(pipeline, backend, wishes, try_out)
    elif is_cuda:
        try_out()
    return Tuning(backend, compiled, wishes.compile_mode, matmul)


def _attention(pipeline: Pipeline, rehearsal: Rehearsal, wish: str) -> str:
    if wish == AUTO:
        return choose_attention(pipeline, rehearsal, local_backends()) if rehearsal.device.type == "cuda" else NATIVE
    set_attention(pipeline, wish)
    return wish


def _compile(pipeline: Pipeline, backend: str, wishes: Wishes, try_out: partial[None]) -> tuple[str, str]:
    """(attention backend, compiled blocks). A backend that was chosen here must not cost the compiled blocks."""
    compiled = compile_and_try(pipeline, wishes.compile_mode, try_out)
    if compiled != "failed" or wishes.attention_backend != AUTO or backend == NATIVE:
        return backend, compiled
    log.warning("compiling once more, with the native attention backend instead of %s", backend)
    set_attention(pipeline, NATIVE)
    return NATIVE, compile_and_try(pipeline, wishes.compile_mode, try_out)
