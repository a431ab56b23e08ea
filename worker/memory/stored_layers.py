"""Layers whose weights stay in the form in which a user's file stores them, GGUF or fp8, and are unpacked at each use."""

from __future__ import annotations

import torch
from diffusers.quantizers.gguf.utils import GGML_QUANT_SIZES, GGUFLinear, GGUFParameter, dequantize_functions
from torch import nn
from torch.nn import functional

from worker.memory.packed_layers import PackedLinear


def unpack_in_fp32(packed: torch.Tensor, kind: object) -> torch.Tensor:
    """Return packed rows, uint8, as fp32. The GGUF package and transformers compute in fp32 too: equal to the bit.

    diffusers computes in half precision, and rounds twice for bf16.
    """
    block, size = GGML_QUANT_SIZES[kind]
    blocks = packed.reshape(-1, size)
    unpacked: torch.Tensor = dequantize_functions[kind](blocks, block, size, dtype=torch.float32)
    return unpacked.reshape(*packed.shape[:-1], packed.shape[-1] // size * block)


class GgufTextLinear(GGUFLinear):  # type: ignore[misc]  # diffusers is untyped
    """diffusers' layer with a weight unpacked in fp32, for text encoders."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply in the compute dtype."""
        weight = unpack_in_fp32(self.weight.as_tensor(), self.weight.quant_type).to(self.compute_dtype)
        return functional.linear(inputs, weight, self.bias)


class GgufEmbedding(nn.Module):
    """An embedding that unpacks only the rows of the tokens it is asked for."""

    def __init__(self, weight: GGUFParameter, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.weight, self.compute_dtype = weight, compute_dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return tokens' rows in the compute dtype."""
        rows = self.weight.as_tensor()[input]
        return unpack_in_fp32(rows, self.weight.quant_type).to(self.compute_dtype)


class StoredFp8Linear(PackedLinear):
    """Weight [out, in] in fp8 as stored, kept as uint8 like `Fp8Linear`'s; `weight_scale` [1 or out, 1] in fp32, or none.

    The weight is unpacked in fp32 and rounded once to the compute dtype, as folding the scales into the file would.
    """

    weight_scale: torch.Tensor | None

    def __init__(
        self, linear: nn.Linear, weight: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype, has_bias: bool
    ) -> None:
        super().__init__(linear.in_features, linear.out_features, has_bias, dtype)
        self.stored_dtype = weight.dtype
        self.weight = nn.Parameter(weight.view(torch.uint8), requires_grad=False)
        self.register_buffer("weight_scale", scale)

    def pack(self, weight: torch.Tensor) -> None:
        """Refuse: its weight is what the file holds."""
        raise TypeError("a stored fp8 weight is never packed again")

    def unpacked(self) -> torch.Tensor:
        """Return the weight in the compute dtype."""
        stored = self.weight.view(self.stored_dtype)
        if self.weight_scale is None:
            return stored.to(self.compute_dtype)
        return stored.float().mul_(self.weight_scale).to(self.compute_dtype)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        bias = self._parameters["bias"]
        return functional.linear(input, self.unpacked(), bias)
