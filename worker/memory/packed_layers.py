"""Linear layers with weights in int8, int4 or fp8: plain torch operations, any device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from worker.device.unpacked_product import unpacked_product

ROWS_AT_ONCE = 1024
"""Rows per 8-bit matmul: the intermediates take several times the memory of the output."""
INT8_MIN_ROWS = 17
"""Fewest rows that `torch._int_mm` takes on CUDA."""
INT4_GROUP = 64
"""Elements of a row that share a scale and an offset."""
FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max


class PackedLinear(nn.Linear, ABC):
    """A packed layer that stays an nn.Linear, so that LoRA adapters can wrap it.

    diffusers reads `compute_dtype` of such layers. `uses_packed_matmul`: whether the matmul itself runs in 8 bits, with
    the activations quantised row by row; else the weight is unpacked at each use. See `worker.memory.quantize`.
    """

    uses_packed_matmul = False

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.compute_dtype = in_features, out_features, dtype
        empty = nn.Parameter(torch.empty(out_features, dtype=dtype), requires_grad=False) if bias else None
        self.register_parameter("bias", empty)

    @abstractmethod
    def pack(self, weight: torch.Tensor) -> None:
        """Quantise and store a float weight [out, in]."""

    def with_bias(self, out: torch.Tensor) -> torch.Tensor:
        """Add the bias to the matmul's output in place."""
        bias = self._parameters["bias"]
        return out if bias is None else out.add_(bias.to(out.dtype))


def row_peaks(rows: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude of each row, [rows] in fp32, never zero; NaN and infinity propagate."""
    peaks: torch.Tensor = torch.linalg.vector_norm(rows, float("inf"), dim=1)
    return peaks.float().clamp(min=1e-12)


def by_rows(matmul: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, width: int) -> torch.Tensor:
    """Return the output of `matmul`, [rows, width] in the rows' dtype, computed ROWS_AT_ONCE rows at a time.

    Under torch.compile all rows are passed at once: the compiler fuses the intermediates itself.
    """
    if torch.compiler.is_compiling() or rows.shape[0] <= ROWS_AT_ONCE:
        return matmul(rows).to(rows.dtype)
    out = rows.new_empty(rows.shape[0], width)
    for begin in range(0, rows.shape[0], ROWS_AT_ONCE):
        some = slice(begin, begin + ROWS_AT_ONCE)
        out[some] = matmul(rows[some])
    return out


class Int8Linear(PackedLinear):
    """Weight [out, in] as int8 with one scale per output row, in the layer's compute dtype."""

    weight_scale: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__(in_features, out_features, bias, dtype)
        empty = torch.empty(out_features, in_features, dtype=torch.int8)
        self.weight = nn.Parameter(empty, requires_grad=False)
        self.register_buffer("weight_scale", torch.empty(out_features, dtype=dtype))

    def pack(self, weight: torch.Tensor) -> None:
        """Quantise symmetrically; the scale is rounded to its dtype first, so that rows keep their gain."""
        self.weight_scale = (row_peaks(weight) / 127).to(self.compute_dtype)
        steps = weight.to(torch.float32, copy=True).div_(self.weight_scale.float()[:, None])
        self.weight = nn.Parameter(steps.round_().clamp_(-127, 127).to(torch.int8), requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.uses_packed_matmul:
            return self.with_bias(int8_matmul(input, self.weight, self.weight_scale))
        out = unpacked_product(input, self.out_features, lambda some: self.weight[some].to(input.dtype))
        return self.with_bias(out.mul_(self.weight_scale.to(input.dtype)))


def int8_matmul(input: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """Multiply input [..., in] by weight [out, in] in int8, summed in int32; return [..., out] in the input's dtype.

    Each row of the input has its own scale, so its largest element keeps 7 bits.
    """
    out = by_rows(lambda rows: _int8_rows(rows, weight, weight_scale), input.reshape(-1, input.shape[-1]), weight.shape[0])
    return out.reshape(*input.shape[:-1], -1)


def _int8_rows(rows: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """Return the output in fp32."""
    if rows.device.type == "cpu":
        rows = rows.float()  # Exact, and once: a CPU is slow where bf16 meets fp32.
    scale = row_peaks(rows)[:, None] / 127
    steps = (rows / scale).round_().to(torch.int8)
    if rows.shape[0] < INT8_MIN_ROWS:
        steps = functional.pad(steps, (0, 0, 0, INT8_MIN_ROWS - rows.shape[0]))
    sums = torch._int_mm(steps, weight.t())[: rows.shape[0]]
    return (sums * scale).mul_(weight_scale.float())


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
        """Quantise each group from its least to its greatest element."""
        groups = weight.float().view(self.out_features, -1, INT4_GROUP)
        low, high = groups.amin(dim=2), groups.amax(dim=2)
        self.weight_offset = low.to(self.compute_dtype)
        self.weight_scale = ((high - low).clamp(min=1e-12) / 15).to(self.compute_dtype)
        steps = (groups - self.weight_offset.float()[..., None]) / self.weight_scale.float()[..., None]
        nibbles = steps.round().clamp(0, 15).to(torch.uint8).view(self.out_features, self.in_features)
        self.weight = nn.Parameter(nibbles[:, 0::2] | (nibbles[:, 1::2] << 4), requires_grad=False)

    def unpacked(self, dtype: torch.dtype, some: slice = slice(None)) -> torch.Tensor:
        """Return rows of the weight, [some, in], in the given dtype."""
        # In place after the first copy, since one unpacked weight is most of the memory that this needs.
        weight = self.weight[some]
        steps = torch.stack((weight & 0xF, weight >> 4), dim=2).to(dtype)
        groups = steps.view(weight.shape[0], -1, INT4_GROUP)
        groups.mul_(self.weight_scale[some].to(dtype)[..., None]).add_(self.weight_offset[some].to(dtype)[..., None])
        return steps.view(weight.shape[0], self.in_features)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.with_bias(unpacked_product(input, self.out_features, lambda some: self.unpacked(input.dtype, some)))


class Fp8Linear(PackedLinear):
    """Weight [out, in] as e4m3 with one fp32 scale per output row.

    The weight is stored as uint8, because libraries take the dtype of a floating-point weight as the compute dtype.
    """

    weight_scale: torch.Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__(in_features, out_features, bias, dtype)
        empty = torch.empty(out_features, in_features, dtype=torch.uint8)
        self.weight = nn.Parameter(empty, requires_grad=False)
        self.register_buffer("weight_scale", torch.empty(out_features, dtype=torch.float32))

    def pack(self, weight: torch.Tensor) -> None:
        """Quantise each row, its largest element scaled to the end of fp8's range."""
        self.weight_scale = row_peaks(weight) / FP8_MAX
        scaled = weight.to(torch.float32, copy=True).div_(self.weight_scale[:, None]).clamp_(-FP8_MAX, FP8_MAX)
        self.weight = nn.Parameter(scaled.to(FP8).view(torch.uint8), requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.weight.view(FP8)
        if self.uses_packed_matmul:
            return self.with_bias(fp8_matmul(input, weight, self.weight_scale))
        out = unpacked_product(input, self.out_features, lambda some: weight[some].to(input.dtype))
        return self.with_bias(out.mul_(self.weight_scale.to(input.dtype)))


def fp8_matmul(input: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """Multiply input [..., in] by weight [out, in] in fp8; return [..., out] in the input's dtype. Scales are per row."""
    out = by_rows(lambda rows: _fp8_rows(rows, weight, weight_scale), input.reshape(-1, input.shape[-1]), weight.shape[0])
    return out.reshape(*input.shape[:-1], -1)


def _fp8_rows(rows: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    scale = row_peaks(rows)[:, None] / FP8_MAX
    steps = (rows / scale).to(FP8)
    # Exact sums cost much of the gain on Hopper; tuning compares an image before this is used.
    return torch._scaled_mm(
        steps, weight.t(), scale_a=scale, scale_b=weight_scale[None, :], out_dtype=rows.dtype, use_fast_accum=True
    )
