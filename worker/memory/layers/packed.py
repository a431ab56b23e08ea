"""What packed layers share: they look like nn.Linear, compute in a dtype of their own, and carry a bias in it."""

from __future__ import annotations

import torch
from torch import nn


class PackedLinear(nn.Linear):
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

    def pack(self, weight: torch.Tensor) -> None:
        """Take a float weight [out, in] over."""
        raise NotImplementedError

    def with_bias(self, out: torch.Tensor) -> torch.Tensor:
        """The layer's output from its product."""
        bias = self._parameters["bias"]
        return out if bias is None else out + bias.to(out.dtype)


def row_peaks(rows: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each row, [rows] in fp32, never zero; NaN and infinity stay what they are."""
    peaks: torch.Tensor = torch.linalg.vector_norm(rows, float("inf"), dim=1)
    return peaks.float().clamp(min=1e-12)
