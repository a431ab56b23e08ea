"""Z-Image at its published size in a memory tier's form, on the meta device."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.weights import full_size_pipeline, measured_model
from core.catalogue.loras import LoraLibrary
from worker.memory.apply import apply_tier
from worker.memory.quantize import use_packed_matmul, with_empty_packed_layers
from worker.memory.sizes import ModelSizes, component_of
from worker.memory.tiers import PACKED_FORMS, Form, Tier
from worker.pipelines.adapters import Adapters
from worker.pipelines.family import FamilyContext
from worker.pipelines.z_image.family import ZImageFamily

META = torch.device("meta")
DTYPE = torch.bfloat16


def pipeline_in(tier: Tier, packed_matmul: bool) -> Any:  # noqa: ANN401 - a diffusers pipeline
    """Build the pipeline in the tier's forms and placements, without parts in host memory.

    `packed_matmul`: multiply in 8 bits. Streamed components are placed whole: only their activations are realistic.
    """
    pipeline = full_size_pipeline(META, DTYPE)
    _shape(pipeline.transformer, tier.denoiser)
    use_packed_matmul(pipeline.transformer, packed_matmul)
    if tier.text_place == "device":
        _shape(pipeline.text_encoder, tier.text)
    else:
        pipeline.text_encoder = None
    form = "native" if tier.denoiser == "fp8-cast" else tier.denoiser
    whole = replace(tier, denoiser=form, denoiser_place="device", text_place="device")
    apply_tier(pipeline, whole, META, lambda _fraction: None)
    return pipeline


def family_over(pipeline: Any) -> ZImageFamily:  # noqa: ANN401 - a diffusers pipeline
    """Return the farm's family implementation over the pipeline."""
    return ZImageFamily(
        FamilyContext(
            pipeline, measured_model(), META, META, Adapters(pipeline, measured_model(), LoraLibrary(Path("no-loras")))
        )
    )


@cache
def true_sizes() -> ModelSizes:
    """Return sizes as worker.memory.sizes reads them from the headers of the published files."""
    pipeline = full_size_pipeline(META, DTYPE)
    names = ("transformer", "text_encoder", "vae")
    shapes = {name: [(path, each.shape) for path, each in getattr(pipeline, name).named_parameters()] for name in names}
    parts = tuple(component_of(name, found) for name, found in shapes.items())
    return ModelSizes(parts, pipeline.transformer.dim, pipeline.vae.config.block_out_channels[0])


def _shape(module: nn.Module, form: Form) -> None:
    for packed in PACKED_FORMS:
        if packed == form:
            with_empty_packed_layers(module, packed, DTYPE)
