"""Quantise the large matrices of a model in place and switch their 8-bit matmul on or off."""

from __future__ import annotations

import torch
from torch import nn

from worker.memory.packed_layers import INT4_GROUP, Fp8Linear, Int4Linear, Int8Linear, PackedLinear
from worker.memory.sizes import NEVER_QUANTISED
from worker.memory.tiers import PackedForm

LAYERS: dict[PackedForm, type[PackedLinear]] = {"int8": Int8Linear, "int4": Int4Linear, "fp8": Fp8Linear}
MIN_CAPABILITY: dict[PackedForm, tuple[int, int]] = {"int8": (8, 0), "fp8": (8, 9)}
"""CUDA compute capability from which GPUs multiply in that form."""
MULTIPLE = 16
"""Both sides of a weight must be multiples of this on a GPU."""


def quantize(module: nn.Module, form: PackedForm, dtype: torch.dtype) -> nn.Module:
    """Replace and pack every eligible linear layer in place, freeing each original; return the same module."""
    for path in _eligible(module, form):
        linear = _linear(module, path)
        layer = empty_layer_like(linear, form, dtype)
        layer.pack(linear.weight.data)
        if linear.bias is not None:
            layer.bias = nn.Parameter(linear.bias.data.to(dtype), requires_grad=False)
        _replace(module, path, layer)
    return module


def with_empty_packed_layers(module: nn.Module, form: PackedForm, dtype: torch.dtype) -> nn.Module:
    """Replace the eligible layers by empty packed ones in place, to load packed weights; return the same module."""
    for path in _eligible(module, form):
        linear = _linear(module, path)
        with torch.device(linear.weight.device):
            _replace(module, path, empty_layer_like(linear, form, dtype))
    return module


def _eligible(module: nn.Module, form: PackedForm) -> list[str]:
    """Return paths of the layers; references would keep all originals in memory."""
    return [
        path
        for path, child in module.named_modules()
        if type(child) is nn.Linear
        and not any(word in path for word in NEVER_QUANTISED)
        and not (form == "int4" and child.in_features % INT4_GROUP)
    ]


def _linear(module: nn.Module, path: str) -> nn.Linear:
    layer = module.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{path} is a {type(layer).__name__}, not a Linear")
    return layer


def _replace(module: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, layer)


def empty_layer_like(linear: nn.Linear, form: PackedForm, dtype: torch.dtype) -> PackedLinear:
    """Return an empty packed layer with that layer's dimensions."""
    return LAYERS[form](linear.in_features, linear.out_features, linear.bias is not None, dtype)


def supports_packed_matmul(form: PackedForm, device: torch.device) -> bool:
    """Return whether the GPU multiplies in this form. CPUs are measured instead: some have no instructions for it."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= MIN_CAPABILITY[form]


def packed_matmul_form(module: nn.Module) -> PackedForm | None:
    """Return the form of the module's layers that can multiply in 8 bits; None if it has none."""
    layers = _matmul_layers(module)
    if not layers:
        return None
    return "int8" if isinstance(layers[0], Int8Linear) else "fp8"


def use_packed_matmul(module: nn.Module, on: bool) -> None:
    """Switch all layers that can multiply in 8 bits between that and unpacking their weights at each use."""
    for layer in _matmul_layers(module):
        layer.uses_packed_matmul = on


def _matmul_layers(module: nn.Module) -> list[Int8Linear | Fp8Linear]:
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, Int8Linear | Fp8Linear) and not (layer.in_features % MULTIPLE or layer.out_features % MULTIPLE)
    ]
