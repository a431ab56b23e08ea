"""Set the configured attention backend, or the fastest one that renders the same image."""

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
from worker.pipelines.tuning.warmup import Warmup, WarmupResult, raise_if_device_broken

log = logging.getLogger(__name__)
AUTO = "auto"
NATIVE, CUDNN = "native", "_native_cudnn"
EXCLUSIVE = frozenset({"_native_efficient", "_native_flash", "_native_math"})
"""Diffusers disables all other kernels, process-wide, while it calls one of these. Attention on another thread (of a VAE, or
of a text encoder on the CPU) that needs another kernel then fails, so no other thread may compute during steps."""
NOT_TRIED = EXCLUSIVE | {NATIVE, "flex", "_native_npu", "_native_xla"}
"""Exclusive backends cannot beat `native`, the baseline, which uses the same kernels where it can; `flex` is slow unless the
whole model is compiled; the others are for other devices."""
MAX_GREY_LEVELS = 2.0
"""Largest accepted mean difference of another backend's image from the native one's."""
MIN_GAIN = 0.03
"""Gain, as a share of the native step time, below which `native` is kept: smaller ones are noise."""
_DEFAULT_ORDER: list[int] = torch._C._get_sdp_priority_order()
"""Torch's priority order, kernels by number."""
preferred_kernels: list[int] = []
"""Kernels to put first during steps, by number; empty for torch's order."""


def prepare_backend(backend: str) -> str:
    """Select the backend for `preferred_order` and return the name to pass to diffusers.

    For cuDNN that is `native`, with cuDNN's kernel first: diffusers' own cuDNN backend disables all other kernels.
    """
    preferred_kernels[:] = [SDPBackend.CUDNN_ATTENTION.value] if backend == CUDNN else []
    return NATIVE if backend == CUDNN else backend


@contextmanager
def preferred_order() -> Iterator[None]:
    """Prefer the chosen kernel within the block, which is a step. The order is process-wide: other threads use it meanwhile.

    Encodes on the loop's thread use torch's default order.
    """
    others = [kernel for kernel in _DEFAULT_ORDER if kernel not in preferred_kernels]
    torch._C._set_sdp_priority_order([*preferred_kernels, *others])
    try:
        yield
    finally:
        torch._C._set_sdp_priority_order(_DEFAULT_ORDER)


def set_backend(pipeline: Pipeline, backend: str) -> None:
    """Set a backend by diffusers' name; raises diffusers' errors for one that is not available."""
    with _without_warnings():
        denoiser_of(pipeline).set_attention_backend(backend)


def has_backends(pipeline: Pipeline) -> bool:
    """Return whether the denoiser's attention uses diffusers' backend dispatch."""
    return any(hasattr(processor, "_attention_backend") for processor in _processors(pipeline))


@contextmanager
def native_attention(pipeline: Pipeline) -> Iterator[None]:
    """Run the block with diffusers' default backend."""
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
    """Suppress diffusers' warning, at each change, that backends are experimental."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)


@dataclass(frozen=True)
class BackendTrial:
    """`usual`: the model's default request. `masked`: one whose captions differ in length."""

    usual: WarmupResult
    masked: WarmupResult

    def distance(self, other: BackendTrial) -> float:
        return max(self.usual.distance(other.usual), self.masked.distance(other.masked))


def local_backends() -> tuple[str, ...]:
    """Return the backends that diffusers offers for a GPU without a download."""
    names = (backend.value for backend in AttentionBackendName)
    return tuple(name for name in names if not name.endswith("_hub") and name not in NOT_TRIED)


def set_attention(pipeline: Pipeline, backend: str) -> None:
    """Set the backend process-wide, once per model; raise RenderError `invalid_input` if it is not available."""
    if backend == NATIVE and not has_backends(pipeline):
        prepare_backend(NATIVE)  # The process may have preferred a kernel for its former model.
        return
    try:
        if not has_backends(pipeline):
            raise ValueError("this model's attention has no backends to choose from; use native or auto")
        set_backend(pipeline, prepare_backend(backend))
    except (ValueError, RuntimeError, ImportError, AttributeError) as error:
        raise RenderError(f"The attention backend '{backend}' cannot be used here: {error}", code="invalid_input") from error


def choose_attention(pipeline: Pipeline, warmup: Warmup, candidates: Sequence[str]) -> str:
    """Try the candidates on this model and set the fastest; `native` unless another one is measurably faster.

    A candidate that raises, refuses a mask or renders another image is skipped, with a log line. Raise RenderError
    `invalid_input` when one breaks the device, which only a new process can repair.
    """
    if not has_backends(pipeline):
        return prepare_backend(NATIVE)  # As in `set_attention`.
    native = _try(pipeline, warmup, NATIVE)
    seconds, skipped = {NATIVE: native.usual.seconds}, {}
    for name in candidates:
        try:
            tried = _try(pipeline, warmup, name)
        except Exception as error:  # noqa: BLE001 - backends raise any type, and are skipped
            raise_if_device_broken(error, f"the attention backend '{name}'", "Set IMAGEFARM_ATTENTION_BACKEND=native.")
            skipped[name] = str(error).partition("\n")[0] or type(error).__name__
            continue
        if (distance := tried.distance(native)) > MAX_GREY_LEVELS:
            skipped[name] = f"its image is {distance:.1f} grey levels from the native one"
        else:
            seconds[name] = tried.usual.seconds
    chosen = fastest(seconds)
    set_attention(pipeline, chosen)
    _log_choice(chosen, seconds, skipped)
    return chosen


def fastest(seconds: dict[str, float]) -> str:
    """Return the backend with the shortest step; `native` if the gain is within noise."""
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < seconds[NATIVE] * (1 - MIN_GAIN) else NATIVE


def _try(pipeline: Pipeline, warmup: Warmup, name: str) -> BackendTrial:
    """Measure a backend; a first round builds or selects its kernels."""
    set_backend(pipeline, prepare_backend(name))
    for request in (warmup.masked(), warmup.usual()):
        warmup.render([request])
    return BackendTrial(warmup.render([warmup.usual()]), warmup.render([warmup.masked()]))


def _log_choice(chosen: str, seconds: dict[str, float], skipped: dict[str, str]) -> None:
    times = ", ".join(f"{name} {value:.4f}" for name, value in seconds.items())
    log.info("attention backend %s; seconds a step: %s", chosen, times)
    for name, reason in skipped.items():
        log.info("attention backend %s skipped: %s", name, reason)
