"""Weights as int8 with a scale for each output row; products in int8 where that is switched on."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from worker.memory.layers.packed import PackedLinear, by_rows, row_peaks

LEAST_ROWS = 17
"""CUDA's int8 product takes no fewer."""


class Int8Linear(PackedLinear):
    """Weight [out, in] as int8 with one scale per output row, in the dtype that the layer computes in."""

    weight_scale: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__(in_features, out_features, bias, dtype)
        empty = torch.empty(out_features, in_features, dtype=torch.int8)
        self.weight = nn.Parameter(empty, requires_grad=False)
        self.register_buffer("weight_scale", torch.empty(out_features, dtype=dtype))

    def pack(self, weight: torch.Tensor) -> None:
        """Take a float weight over: symmetric, the scale rounded first so that rows keep their gain."""
        self.weight_scale = (row_peaks(weight) / 127).to(self.compute_dtype)
        steps = weight.to(torch.float32, copy=True).div_(self.weight_scale.float()[:, None])
        self.weight = nn.Parameter(steps.round_().clamp_(-127, 127).to(torch.int8), requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.multiplies_packed:
            return self.with_bias(int8_product(input, self.weight, self.weight_scale))
        return self.with_bias(functional.linear(input, self.weight.to(input.dtype)).mul_(self.weight_scale.to(input.dtype)))


def int8_product(input: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """input [..., in] times weight [out, in] in int8, summed in int32; [..., out] in the input's dtype.

    Each row of the input gets a scale of its own, so its largest element keeps 7 bits.
    """
    out = by_rows(lambda rows: _product(rows, weight, weight_scale), input.reshape(-1, input.shape[-1]), weight.shape[0])
    return out.reshape(*input.shape[:-1], -1)


def _product(rows: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """In fp32."""
    scale = row_peaks(rows)[:, None] / 127
    steps = (rows / scale).round_().to(torch.int8)
    if rows.shape[0] < LEAST_ROWS:
        steps = functional.pad(steps, (0, 0, 0, LEAST_ROWS - rows.shape[0]))
    sums = torch._int_mm(steps, weight.t())[: rows.shape[0]]
    return (sums * scale).mul_(weight_scale.float())
