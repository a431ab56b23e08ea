"""The attention backend of diffusers' dispatch: the one that is named, or the fastest that renders the same picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from diffusers.models.attention_dispatch import AttentionBackendName

from core.errors import RenderError
from worker.pipelines.tuning.backend import has_choice, set_backend
from worker.pipelines.tuning.kernels import NATIVE, SWITCHING, without_switches
from worker.pipelines.tuning.rehearsal import Rehearsal, Rehearsed, stop_if_broken
from worker.pipelines.untyped import Pipeline

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
class Tried:
    """`usual`: the model's default request. `masked`: one whose captions differ in length."""

    usual: Rehearsed
    masked: Rehearsed

    def distance(self, other: Tried) -> float:
        return max(self.usual.distance(other.usual), self.masked.distance(other.masked))


def local_backends() -> tuple[str, ...]:
    """What diffusers offers for a card and would not download."""
    names = (backend.value for backend in AttentionBackendName)
    return tuple(name for name in names if not name.endswith("_hub") and name not in NOT_TRIED)


def set_attention(pipeline: Pipeline, backend: str) -> None:
    """Process-wide, so once a model; RenderError `invalid_input` for a backend that cannot be had."""
    if backend == NATIVE and not has_choice(pipeline):
        return
    try:
        if not has_choice(pipeline):
            raise ValueError("this model's attention has no backends to choose from; use native or auto")
        set_backend(pipeline, without_switches(backend))
    except (ValueError, RuntimeError, ImportError, AttributeError) as error:
        raise RenderError(f"The attention backend '{backend}' cannot be used here: {error}", code="invalid_input") from error


def choose_attention(pipeline: Pipeline, rehearsal: Rehearsal, candidates: Sequence[str]) -> str:
    """Try the candidates on this model and set the fastest; `native` unless another gains something.

    One that raises, refuses a mask or renders another picture is passed over, and the log says so. RenderError
    `invalid_input` when one breaks the device, which only a new process can mend.
    """
    if not has_choice(pipeline):
        return NATIVE
    native = _try(pipeline, rehearsal, NATIVE)
    seconds, passed_over = {NATIVE: native.usual.seconds}, {}
    for name in candidates:
        try:
            tried = _try(pipeline, rehearsal, name)
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
    _say(chosen, seconds, passed_over)
    return chosen


def fastest(seconds: dict[str, float]) -> str:
    """The backend with the shortest step; `native` where the gain is within noise."""
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < seconds[NATIVE] * (1 - LEAST_GAIN) else NATIVE


def _try(pipeline: Pipeline, rehearsal: Rehearsal, name: str) -> Tried:
    """The first round is for kernels that are built or chosen on first use."""
    set_backend(pipeline, without_switches(name))
    for request in (rehearsal.masked(), rehearsal.usual()):
        rehearsal.render([request])
    return Tried(rehearsal.render([rehearsal.usual()]), rehearsal.render([rehearsal.masked()]))


def _say(chosen: str, seconds: dict[str, float], passed_over: dict[str, str]) -> None:
    times = ", ".join(f"{name} {value:.4f}" for name, value in seconds.items())
    log.info("attention backend %s; seconds a step: %s", chosen, times)
    for name, reason in passed_over.items():
        log.info("attention backend %s passed over: %s", name, reason)
