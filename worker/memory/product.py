"""Products in 8 bits: which devices and layers take them, and how they are switched on."""

from __future__ import annotations

import torch
from torch import nn

from worker.memory.layers import Fp8Linear, Int8Linear
from worker.memory.tiers import PackedForm

LEAST_CAPABILITY: dict[PackedForm, tuple[int, int]] = {"int8": (8, 0), "fp8": (8, 9)}
"""CUDA compute capability from which cards multiply in that form."""
MULTIPLE = 16
"""Both sides of a weight must be multiples of this on a card."""


def multiplies(form: PackedForm, device: torch.device) -> bool:
    """Whether the device may multiply in this form. A CPU could, but for a tiny model it was no gain."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY[form]


def product_form(module: nn.Module) -> PackedForm | None:
    """The form of the module's layers that could multiply in 8 bits; None where it has none."""
    layers = _layers(module)
    if not layers:
        return None
    return "int8" if isinstance(layers[0], Int8Linear) else "fp8"


def use_product(module: nn.Module, on: bool) -> None:
    """Have all layers that can multiply in 8 bits, or unpack their weights at each use."""
    for layer in _layers(module):
        layer.multiplies_packed = on


def _layers(module: nn.Module) -> list[Int8Linear | Fp8Linear]:
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, Int8Linear | Fp8Linear) and not (layer.in_features % MULTIPLE or layer.out_features % MULTIPLE)
    ]
