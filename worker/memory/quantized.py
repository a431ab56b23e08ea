"""Linear layers whose weights are kept in 8 or 4 bits and unpacked as they are used: plain torch operations, any device."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

INT4_GROUP = 64
"""Elements of a row that share a scale and an offset."""


def _bias(out_features: int, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(out_features, dtype=dtype), requires_grad=False)


class Int8Linear(nn.Linear):
    """Weight [out, in] as int8 with one scale per output row, in the dtype that the layer computes in.

    It stays an nn.Linear, so that LoRA adapters wrap it; `compute_dtype` is what diffusers asks such layers for.
    """

    weight_scale: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.compute_dtype = in_features, out_features, dtype
        empty = torch.empty(out_features, in_features, dtype=torch.int8)
        self.weight = nn.Parameter(empty, requires_grad=False)
        self.register_buffer("weight_scale", torch.empty(out_features, dtype=dtype))
        self.register_parameter("bias", _bias(out_features, dtype) if bias else None)

    def pack(self, weight: torch.Tensor) -> None:
        """Take a float weight over: symmetric, the scale rounded first so that rows keep their gain."""
        peak = torch.linalg.vector_norm(weight, float("inf"), dim=1).float().clamp(min=1e-12)
        self.weight_scale = (peak / 127).to(self.compute_dtype)
        steps = weight.to(torch.float32, copy=True).div_(self.weight_scale.float()[:, None])
        self.weight = nn.Parameter(steps.round_().clamp_(-127, 127).to(torch.int8), requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        out = functional.linear(input, self.weight.to(input.dtype)) * self.weight_scale.to(input.dtype)
        bias = self._parameters["bias"]
        return out if bias is None else out + bias.to(input.dtype)


class Int4Linear(nn.Linear):
    """Weight as unsigned 4-bit steps, two to a byte, with a scale and an offset for every INT4_GROUP elements of a row."""

    weight_scale: torch.Tensor
    weight_offset: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.compute_dtype = in_features, out_features, dtype
        packed = torch.empty(out_features, in_features // 2, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)
        groups = in_features // INT4_GROUP
        self.register_buffer("weight_scale", torch.empty(out_features, groups, dtype=dtype))
        self.register_buffer("weight_offset", torch.empty(out_features, groups, dtype=dtype))
        self.register_parameter("bias", _bias(out_features, dtype) if bias else None)

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
        nibbles = torch.stack((self.weight & 0xF, self.weight >> 4), dim=2)
        groups = nibbles.view(self.out_features, -1, INT4_GROUP).to(dtype)
        weight = groups * self.weight_scale.to(dtype)[..., None] + self.weight_offset.to(dtype)[..., None]
        return weight.view(self.out_features, self.in_features)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        bias = self._parameters["bias"]
        return functional.linear(input, self.unpacked(input.dtype), None if bias is None else bias.to(input.dtype))
