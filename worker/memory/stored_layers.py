"""Layers whose weights stay in the form in which a user's file stores them, GGUF or fp8, and are unpacked at each use."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusers.quantizers.gguf.utils import GGML_QUANT_SIZES, GGUFLinear, GGUFParameter, dequantize_functions
from torch import nn

from worker.device.unpacked_product import UnpackRows, unpacked_product
from worker.memory.packed_layers import PackedLinear
from worker.memory.stored_sizes import PIECE

CPU_PIECE = 2**18
"""Elements that are unpacked at once on a CPU: few enough for its cache."""


def unpack(packed: torch.Tensor, kind: Any, dtype: torch.dtype | None) -> torch.Tensor:  # noqa: ANN401 - gguf's type
    """Return packed rows, uint8, as numbers computed in `dtype`; None computes in half precision, as diffusers does.

    The GGUF package and transformers compute in fp32. For bf16, diffusers' way rounds twice.
    """
    block, size = GGML_QUANT_SIZES[kind]
    unpacked: torch.Tensor = dequantize_functions[kind](packed.reshape(-1, size), block, size, dtype=dtype)
    return unpacked.reshape(*packed.shape[:-1], packed.shape[-1] // size * block)


def unpack_fp8(codes: torch.Tensor, stored: torch.dtype, dtype: torch.dtype) -> torch.Tensor:
    """Return fp8 numbers, given as uint8, in another dtype. On a CPU torch's own conversion takes ten times as long."""
    if codes.device.type != "cpu":
        return codes.view(stored).to(dtype)
    return _fp8_values(stored, dtype).index_select(0, codes.reshape(-1).int()).view(codes.shape)


@cache
def _fp8_values(stored: torch.dtype, dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).view(stored).to(dtype)


def in_pieces(packed: torch.Tensor, width: int, dtype: torch.dtype, unpack_rows: UnpackRows) -> torch.Tensor:
    """Return the unpacked weight [rows, width] in `dtype`, with intermediate results of a few rows at a time."""
    rows = max((CPU_PIECE if packed.device.type == "cpu" else PIECE) // width, 1)
    out = torch.empty(packed.shape[0], width, dtype=dtype, device=packed.device)
    for begin in range(0, packed.shape[0], rows):
        some = slice(begin, begin + rows)
        out[some] = unpack_rows(some)
    return out


class GgufLinear(GGUFLinear):  # type: ignore[misc]  # diffusers is untyped
    """diffusers' layer, which unpacks its weight piece by piece: the same numbers, with less memory.

    `unpack_dtype`: as in `unpack`.
    """

    unpack_dtype: torch.dtype | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply in the compute dtype."""
        packed, kind = self.weight.as_tensor(), self.weight.quant_type

        def unpack_rows(block: slice) -> torch.Tensor:
            rows = packed[block]
            return in_pieces(
                rows, self.in_features, self.compute_dtype, lambda some: unpack(rows[some], kind, self.unpack_dtype)
            )

        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        return unpacked_product(inputs, packed.shape[0], unpack_rows, bias)


class GgufEmbedding(nn.Module):
    """An embedding that unpacks only the rows of the tokens it is asked for."""

    def __init__(self, weight: GGUFParameter, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.weight, self.compute_dtype = weight, compute_dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return tokens' rows in the compute dtype."""
        rows = self.weight.as_tensor()[input]
        return unpack(rows, self.weight.quant_type, torch.float32).to(self.compute_dtype)


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

    def unpacked(self, block: slice = slice(None)) -> torch.Tensor:
        """Return rows of the weight, [some, in], in the compute dtype."""
        codes, kind = self.weight[block], self.stored_dtype
        if self.weight_scale is None:
            return self._in_pieces(codes, lambda some: unpack_fp8(codes[some], kind, self.compute_dtype))
        scales = self.weight_scale.expand(self.out_features, 1)[block]
        return self._in_pieces(codes, lambda some: unpack_fp8(codes[some], kind, torch.float32).mul_(scales[some]))

    def _in_pieces(self, codes: torch.Tensor, unpack_rows: UnpackRows) -> torch.Tensor:
        return in_pieces(codes, self.in_features, self.compute_dtype, unpack_rows)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return unpacked_product(input, self.out_features, self.unpacked, self._parameters["bias"])
