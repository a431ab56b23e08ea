"""Which of diffusers' attention backends a denoiser runs with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging

from worker.pipelines.tuning.denoiser import denoiser_of
from worker.pipelines.tuning.kernels import NATIVE
from worker.pipelines.untyped import Pipeline


def set_backend(pipeline: Pipeline, backend: str) -> None:
    """By diffusers' name; raises what diffusers raises for one that cannot be had."""
    with _without_warnings():
        denoiser_of(pipeline).set_attention_backend(backend)


def has_choice(pipeline: Pipeline) -> bool:
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
