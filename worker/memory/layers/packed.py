"""What packed layers share: they look like nn.Linear, compute in a dtype of their own, and carry a bias in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

ROWS_AT_ONCE = 1024
"""A product in 8 bits needs several times its output on the way: no more rows than these at a time."""


class PackedLinear(nn.Linear, ABC):
    """It stays an nn.Linear, so that LoRA adapters wrap it; `compute_dtype` is what diffusers asks such layers for.

    `multiplies_packed`: whether the product itself is done in 8 bits, with the activations quantised row by row as they
    come; else the weight is unpacked at each use. See `worker.memory.product`.
    """

    multiplies_packed = False

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.compute_dtype = in_features, out_features, dtype
        empty = nn.Parameter(torch.empty(out_features, dtype=dtype), requires_grad=False) if bias else None
        self.register_parameter("bias", empty)

    @abstractmethod
    def pack(self, weight: torch.Tensor) -> None:
        """Take a float weight [out, in] over."""

    def with_bias(self, out: torch.Tensor) -> torch.Tensor:
        """The layer's output from its product."""
        bias = self._parameters["bias"]
        return out if bias is None else out.add_(bias.to(out.dtype))


def row_peaks(rows: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each row, [rows] in fp32, never zero; NaN and infinity stay what they are."""
    peaks: torch.Tensor = torch.linalg.vector_norm(rows, float("inf"), dim=1)
    return peaks.float().clamp(min=1e-12)


def by_rows(product: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, width: int) -> torch.Tensor:
    """The product [rows, width] in the rows' dtype, some rows at a time. A compiler fuses the steps itself: it gets all."""
    if torch.compiler.is_compiling() or rows.shape[0] <= ROWS_AT_ONCE:
        return product(rows).to(rows.dtype)
    out = rows.new_empty(rows.shape[0], width)
    for begin in range(0, rows.shape[0], ROWS_AT_ONCE):
        some = slice(begin, begin + ROWS_AT_ONCE)
        out[some] = product(rows[some])
    return out
