"""Set the attention backend that is named, or the fastest that renders the same image."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.utils import logging as diffusers_logging
from torch.nn.attention import SDPBackend

from core.errors import RenderError
from worker.models.libraries import Pipeline, denoiser_of
from worker.pipelines.tuning.warmup import Warmup, WarmupResult, stop_if_broken

NATIVE, CUDNN = "native", "_native_cudnn"
SWITCHING = frozenset({"_native_efficient", "_native_flash", "_native_math"})
"""Diffusers calls these with all other kernels switched off. An attention of another thread that needs another kernel, of
a VAE or of a text encoder on the CPU, then fails: nothing may run beside the steps."""
_AS_IT_COMES: list[int] = torch._C._get_sdp_priority_order()
"""Torch's order, kernels by number."""
_preferred: list[int] = []


def without_switches(backend: str) -> str:
    """The name to give diffusers: a wish for cuDNN's kernel puts that first in `preferred_order` and shuts no other out."""
    _preferred[:] = [SDPBackend.CUDNN_ATTENTION.value] if backend == CUDNN else []
    return NATIVE if backend == CUDNN else backend


@contextmanager
def preferred_order() -> Iterator[None]:
    """Its body, a step, takes the kernel that was wished for where it can, and other threads meanwhile; encodes of the loop
    take torch's choice."""
    if not _preferred:
        yield
        return
    torch._C._set_sdp_priority_order([*_preferred, *(kernel for kernel in _AS_IT_COMES if kernel not in _preferred)])
    try:
        yield
    finally:
        torch._C._set_sdp_priority_order(_AS_IT_COMES)


def set_backend(pipeline: Pipeline, backend: str) -> None:
    """By diffusers' name; raises what diffusers raises for one that cannot be had."""
    with _without_warnings():
        denoiser_of(pipeline).set_attention_backend(backend)


def has_backends(pipeline: Pipeline) -> bool:
    """Whether the denoiser's attention goes through diffusers' dispatch at all."""
    return any(hasattr(processor, "_attention_backend") for processor in _processors(pipeline))


@contextmanager
def native_attention(pipeline: Pipeline) -> Iterator[None]:
    """Its body runs with the backend that diffusers takes unless told otherwise."""
    chosen = next((found for each in _processors(pipeline) if (found := getattr(each, "_attention_backend", None))), None)
    if chosen is None or chosen.value == NATIVE:
        yield
        return
    set_backend(pipeline, NATIVE)
    try:
        yield
    finally:
        set_backend(pipeline, chosen.value)


def _processors(pipeline: Pipeline) -> Iterator[object]:
    return (getattr(module, "processor", None) for module in denoiser_of(pipeline).modules())


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Diffusers calls its backends experimental at each change."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)


log = logging.getLogger(__name__)
AUTO = "auto"
NOT_TRIED = SWITCHING | {NATIVE, "flex", "_native_npu", "_native_xla"}
"""Not better than `native`, which is what the others must beat and takes the same kernels where it can; slow unless the
whole is compiled; or for other devices."""
MOST_GREY_LEVELS = 2.0
"""How far, on average, another backend's picture may be from the native one's."""
LEAST_GAIN = 0.03
"""Share of a step's time below which a gain is noise."""


@dataclass(frozen=True)
class BackendTrial:
    """`usual`: the model's default request. `masked`: one whose captions differ in length."""

    usual: WarmupResult
    masked: WarmupResult

    def distance(self, other: BackendTrial) -> float:
        return max(self.usual.distance(other.usual), self.masked.distance(other.masked))


def local_backends() -> tuple[str, ...]:
    """What diffusers offers for a card and would not download."""
    names = (backend.value for backend in AttentionBackendName)
    return tuple(name for name in names if not name.endswith("_hub") and name not in NOT_TRIED)


def set_attention(pipeline: Pipeline, backend: str) -> None:
    """Process-wide, so once a model; RenderError `invalid_input` for a backend that cannot be had."""
    if backend == NATIVE and not has_backends(pipeline):
        return
    try:
        if not has_backends(pipeline):
            raise ValueError("this model's attention has no backends to choose from; use native or auto")
        set_backend(pipeline, without_switches(backend))
    except (ValueError, RuntimeError, ImportError, AttributeError) as error:
        raise RenderError(f"The attention backend '{backend}' cannot be used here: {error}", code="invalid_input") from error


def choose_attention(pipeline: Pipeline, warmup: Warmup, candidates: Sequence[str]) -> str:
    """Try the candidates on this model and set the fastest; `native` unless another gains something.

    One that raises, refuses a mask or renders another picture is passed over, and the log says so. RenderError
    `invalid_input` when one breaks the device, which only a new process can mend.
    """
    if not has_backends(pipeline):
        return NATIVE
    native = _try(pipeline, warmup, NATIVE)
    seconds, passed_over = {NATIVE: native.usual.seconds}, {}
    for name in candidates:
        try:
            tried = _try(pipeline, warmup, name)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises, it is passed over
            stop_if_broken(error, f"the attention backend '{name}'", "Set IMAGEFARM_ATTENTION_BACKEND=native.")
            passed_over[name] = str(error).partition("\n")[0] or type(error).__name__
            continue
        if (distance := tried.distance(native)) > MOST_GREY_LEVELS:
            passed_over[name] = f"its picture is {distance:.1f} grey levels from the native one"
        else:
            seconds[name] = tried.usual.seconds
    chosen = fastest(seconds)
    set_attention(pipeline, chosen)
    _log_choice(chosen, seconds, passed_over)
    return chosen


def fastest(seconds: dict[str, float]) -> str:
    """The backend with the shortest step; `native` where the gain is within noise."""
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < seconds[NATIVE] * (1 - LEAST_GAIN) else NATIVE


def _try(pipeline: Pipeline, warmup: Warmup, name: str) -> BackendTrial:
    """The first round is for kernels that are built or chosen on first use."""
    set_backend(pipeline, without_switches(name))
    for request in (warmup.masked(), warmup.usual()):
        warmup.render([request])
    return BackendTrial(warmup.render([warmup.usual()]), warmup.render([warmup.masked()]))


def _log_choice(chosen: str, seconds: dict[str, float], passed_over: dict[str, str]) -> None:
    times = ", ".join(f"{name} {value:.4f}" for name, value in seconds.items())
    log.info("attention backend %s; seconds a step: %s", chosen, times)
    for name, reason in passed_over.items():
        log.info("attention backend %s passed over: %s", name, reason)
