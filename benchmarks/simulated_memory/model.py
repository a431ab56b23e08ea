"""Z-Image at its published size in a memory tier's form, on the meta device."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers.quantizers.gguf.utils import GGUFParameter
from gguf import GGMLQuantizationType
from torch import nn

from benchmarks.gpu.weights import full_size_pipeline, measured_model
from core.catalogue.loras import LoraLibrary
from worker.memory.apply import apply_tier
from worker.memory.quantize import use_packed_matmul, with_empty_packed_layers
from worker.memory.sizes import ModelSizes, component_of
from worker.memory.stored_layers import GgufLinear, StoredFp8Linear
from worker.memory.stored_sizes import BLOCKS, StoredSize, stored_size
from worker.memory.tiers import PACKED_FORMS, Form, Tier
from worker.models.z_image_transformer import gate_in_place
from worker.pipelines.adapters import Adapters
from worker.pipelines.family import FamilyContext
from worker.pipelines.z_image.family import ZImageFamily

META = torch.device("meta")
DTYPE = torch.bfloat16


def pipeline_in(tier: Tier, packed_matmul: bool, stored: str = "") -> Any:  # noqa: ANN401 - a diffusers pipeline
    """Build the pipeline in the tier's forms and placements, without parts in host memory.

    `packed_matmul`: multiply in 8 bits. `stored`: the transformer's type in a GGUF file, or `fp8`.
    Streamed components are placed whole: only their activations are realistic.
    """
    pipeline = full_size_pipeline(META, DTYPE)
    _shape(pipeline.transformer, tier.denoiser)
    if stored:
        _store(pipeline.transformer, stored)
    use_packed_matmul(pipeline.transformer, packed_matmul)
    if tier.text_place == "device":
        _shape(pipeline.text_encoder, tier.text)
    else:
        pipeline.text_encoder = None
    form = "native" if tier.denoiser == "fp8-cast" else tier.denoiser
    whole = replace(tier, denoiser=form, denoiser_place="device", text_place="device")
    gate_in_place(pipeline.transformer)
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
def true_sizes(stored: str = "", stored_text: str = "") -> ModelSizes:
    """Return sizes as worker.memory.sizes reads them from the headers of the published files.

    `stored`, `stored_text`: types of the matrices in packed files of transformer and text encoder, such as `Q8_0` or `fp8`.
    """
    found, width, vae_width = _full_size()
    kinds = {"transformer": stored, "text_encoder": stored_text}
    sizes = {name: _stored_size(rows, kinds.get(name, "")) for name, rows in found.items()}
    parts = tuple(replace(component_of(name, rows), stored=sizes[name]) for name, rows in found.items())
    return ModelSizes(parts, width, vae_width)


@cache
def _full_size() -> tuple[dict[str, list[tuple[str, torch.Size]]], int, int]:
    """Return names and shapes by component, and the widths of the transformer and the decoder."""
    pipeline = full_size_pipeline(META, DTYPE)
    names = ("transformer", "text_encoder", "vae")
    shapes = {name: [(path, each.shape) for path, each in getattr(pipeline, name).named_parameters()] for name in names}
    return shapes, pipeline.transformer.dim, pipeline.vae.config.block_out_channels[0]


def _stored_size(shapes: list[tuple[str, torch.Size]], kind: str) -> StoredSize | None:
    """Return the size of a component whose matrices with whole blocks have that type."""
    dtype = "F8_E4M3" if kind == "fp8" else kind
    block = BLOCKS[kind][0] if kind in BLOCKS else 1
    return stored_size((name, "F32" if not kind or shape[-1] % block else dtype, shape) for name, shape in shapes)


def _store(module: nn.Module, kind: str) -> None:
    """Replace the linear layers by those of a packed file."""
    for path, layer in list(module.named_modules()):
        if isinstance(layer, nn.Linear):
            module.set_submodule(path, _stored_layer(layer, kind))


def _stored_layer(linear: nn.Linear, kind: str) -> nn.Module:
    if kind == "fp8":
        fp8 = torch.empty(linear.weight.shape, dtype=torch.float8_e4m3fn, device=META)
        scale = torch.empty(1, 1, device=META)
        layer: Any = StoredFp8Linear(linear, fp8, scale, DTYPE, linear.bias is not None)
    else:
        block, size = BLOCKS[kind]
        if linear.in_features % block:
            return linear
        packed = torch.empty(linear.out_features, linear.in_features // block * size, dtype=torch.uint8, device=META)
        with META:
            layer = GgufLinear(linear.in_features, linear.out_features, linear.bias is not None, DTYPE)
        layer.weight = GGUFParameter(packed, quant_type=GGMLQuantizationType[kind])
    layer.bias = linear.bias
    made: nn.Module = layer
    return made


def _shape(module: nn.Module, form: Form) -> None:
    for packed in PACKED_FORMS:
        if packed == form:
            with_empty_packed_layers(module, packed, DTYPE)
