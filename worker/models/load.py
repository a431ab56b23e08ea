"""Load a catalogue model into a diffusers pipeline on a device. Never downloads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from core.catalogue import CatalogueModel, Located, Places, locate
from worker.models.adapters import fuse_loras, set_scheduler
from worker.models.components import assemble, load_components
from worker.models.demo import ensure_built
from worker.models.dtypes import choose_dtype

OnProgress = Callable[[str, float | None], None]
"""Hears (stage, fraction 0..1 or None when it cannot be told). Stages: building, reading, adapting, placing, done."""

VERSIONED = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors")


@dataclass(frozen=True)
class LoadRequest:
    """`device`: cpu, cuda or cuda:N. `dtype`: auto, or one of the row's. `memory_policy`: auto, or a tier's name."""

    places: Places
    device: str
    memory_policy: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline ready to render. `load_seconds` is wall time; `versions` by distribution name."""

    pipeline: DiffusionPipeline
    model: CatalogueModel
    located: Located
    device: torch.device
    dtype: torch.dtype
    load_seconds: float
    versions: dict[str, str]


def load_pipeline(model: CatalogueModel, request: LoadRequest, on_progress: OnProgress) -> LoadedPipeline:
    """The model on its device; RenderError `model_unavailable` names the pull command when its weights are not here."""
    started = time.perf_counter()
    _silence_bars()
    device = torch.device(request.device)
    dtype = choose_dtype(model, device, request.dtype)
    if model.built_locally:
        on_progress("building", None)
        ensure_built(model, request.places)
    located = locate(model, request.places)
    pipeline = _read(model, located, dtype, on_progress)
    on_progress("placing", None)
    pipeline.to(device)
    on_progress("done", 1.0)
    return LoadedPipeline(
        pipeline=pipeline,
        model=model,
        located=located,
        device=device,
        dtype=dtype,
        load_seconds=time.perf_counter() - started,
        versions=versions(),
    )


def _read(model: CatalogueModel, located: Located, dtype: torch.dtype, on_progress: OnProgress) -> DiffusionPipeline:
    on_progress("reading", 0.0)
    loaded = load_components(located.directory, dtype, lambda fraction: on_progress("reading", fraction))
    pipeline = assemble(located.directory, loaded, dtype)
    pipeline.set_progress_bar_config(disable=True)
    on_progress("adapting", None)
    set_scheduler(pipeline, model)
    fuse_loras(pipeline, model, located.loras)
    return pipeline


def versions() -> dict[str, str]:
    """Versions of the libraries that a picture depends on."""
    return {name: version(name) for name in VERSIONED}


def _silence_bars() -> None:
    """Bars of the libraries would run through the worker's log; progress goes through `on_progress` instead."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # Their warnings tell people to install torchvision, which would break a CPU build of torch.
    transformers_logging.set_verbosity_error()
