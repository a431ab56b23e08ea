"""Weights as 4-bit steps with a scale and an offset for each group of a row; unpacked at each use."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from worker.memory.layers.packed import PackedLinear

INT4_GROUP = 64
"""Elements of a row that share a scale and an offset."""


class Int4Linear(PackedLinear):
    """Weight as unsigned 4-bit steps, two to a byte, with a scale and an offset for every INT4_GROUP elements of a row."""

    weight_scale: torch.Tensor
    weight_offset: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__(in_features, out_features, bias, dtype)
        packed = torch.empty(out_features, in_features // 2, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)
        groups = in_features // INT4_GROUP
        self.register_buffer("weight_scale", torch.empty(out_features, groups, dtype=dtype))
        self.register_buffer("weight_offset", torch.empty(out_features, groups, dtype=dtype))

    def pack(self, weight: torch.Tensor) -> None:
        """Take a float weight over: each group spread from its least to its greatest element."""
        groups = weight.float().view(self.out_features, -1, INT4_GROUP)
        low, high = groups.amin(dim=2), groups.amax(dim=2)
        self.weight_offset = low.to(self.compute_dtype)
        self.weight_scale = ((high - low).clamp(min=1e-12) / 15).to(self.compute_dtype)
        steps = (groups - self.weight_offset.float()[..., None]) / self.weight_scale.float()[..., None]
        nibbles = steps.round().clamp(0, 15).to(torch.uint8).view(self.out_features, self.in_features)
        self.weight = nn.Parameter(nibbles[:, 0::2] | (nibbles[:, 1::2] << 4), requires_grad=False)

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight [out, in] as it is computed with."""
        # In place from the first copy on: a large weight in the dtype is most of what this needs.
        steps = torch.stack((self.weight & 0xF, self.weight >> 4), dim=2).to(dtype)
        groups = steps.view(self.out_features, -1, INT4_GROUP)
        groups.mul_(self.weight_scale.to(dtype)[..., None]).add_(self.weight_offset.to(dtype)[..., None])
        return steps.view(self.out_features, self.in_features)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.with_bias(functional.linear(input, self.unpacked(input.dtype)))
