"""Turn the large matrices of a model into 8- or 4-bit ones, in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from worker.memory.quantized import INT4_GROUP, Int4Linear, Int8Linear
from worker.memory.sizes import KEPT

PackedForm = Literal["int8", "int4"]
LAYERS: dict[PackedForm, type[Int8Linear] | type[Int4Linear]] = {"int8": Int8Linear, "int4": Int4Linear}


def quantize(module: nn.Module, form: PackedForm, dtype: torch.dtype) -> nn.Module:
    """Replace and pack every eligible linear layer; returns the same module."""
    for parent, name, linear in list(_eligible(module, form)):
        layer = _like(linear, form, dtype)
        layer.pack(linear.weight.data)
        if linear.bias is not None:
            layer.bias = nn.Parameter(linear.bias.data.to(dtype), requires_grad=False)
        setattr(parent, name, layer)
    return module


def shape_for(module: nn.Module, form: PackedForm, dtype: torch.dtype) -> nn.Module:
    """Replace the same layers by empty ones: a module on the meta device made ready for packed weights."""
    for parent, name, linear in list(_eligible(module, form)):
        with torch.device(linear.weight.device):
            setattr(parent, name, _like(linear, form, dtype))
    return module


def _like(linear: nn.Linear, form: PackedForm, dtype: torch.dtype) -> Int8Linear | Int4Linear:
    return LAYERS[form](linear.in_features, linear.out_features, linear.bias is not None, dtype)


def _eligible(module: nn.Module, form: PackedForm) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for path, child in module.named_modules():
        if type(child) is not nn.Linear or any(word in path for word in KEPT):
            continue
        if form == "int4" and child.in_features % INT4_GROUP:
            continue
        parent, _, name = path.rpartition(".")
        yield module.get_submodule(parent), name, child
