"""Weights as fp8 (e4m3) with a scale for each output row; products in fp8 where that is switched on."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from worker.memory.layers.packed import PackedLinear, by_rows, row_peaks

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max


class Fp8Linear(PackedLinear):
    """Weight [out, in] as e4m3 with one fp32 scale per output row.

    The weight is held as bytes: others take a floating-point weight's dtype for the one to compute or to train in.
    """

    weight_scale: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__(in_features, out_features, bias, dtype)
        empty = torch.empty(out_features, in_features, dtype=torch.uint8)
        self.weight = nn.Parameter(empty, requires_grad=False)
        self.register_buffer("weight_scale", torch.empty(out_features, dtype=torch.float32))

    def pack(self, weight: torch.Tensor) -> None:
        """Take a float weight over, the largest element of each row at the end of fp8's range."""
        self.weight_scale = row_peaks(weight) / LARGEST
        scaled = weight.to(torch.float32, copy=True).div_(self.weight_scale[:, None]).clamp_(-LARGEST, LARGEST)
        self.weight = nn.Parameter(scaled.to(FP8).view(torch.uint8), requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.weight.view(FP8)
        if self.multiplies_packed:
            return self.with_bias(fp8_product(input, weight, self.weight_scale))
        return self.with_bias(functional.linear(input, weight.to(input.dtype)).mul_(self.weight_scale.to(input.dtype)))


def fp8_product(input: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """input [..., in] times weight [out, in] in fp8; [..., out] in the input's dtype. Each row has a scale of its own."""
    out = by_rows(lambda rows: _product(rows, weight, weight_scale), input.reshape(-1, input.shape[-1]), weight.shape[0])
    return out.reshape(*input.shape[:-1], -1)


def _product(rows: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    scale = row_peaks(rows)[:, None] / LARGEST
    steps = (rows / scale).to(FP8)
    # Sums in fp8's own precision: on Hopper exact ones cost a good part of the gain, and the picture is looked at anyway.
    return torch._scaled_mm(
        steps, weight.t(), scale_a=scale, scale_b=weight_scale[None, :], out_dtype=rows.dtype, use_fast_accum=True
    )
