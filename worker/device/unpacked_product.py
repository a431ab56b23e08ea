"""Multiply by a weight that is unpacked at its use: on a CPU some rows at a time, which its cache holds for the product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

BLOCK_BYTES = 2**23
"""Of the unpacked rows on a CPU: as a whole, a large weight would be written to memory and read again."""
ROWS_PER_THREAD = 128
"""Fewest rows of a block for each thread: products by fewer are slower."""
EVEN_ROWS = 64
"""The rows of a weight that is multiplied in blocks are a multiple of this: a product by few rows sums in another order."""

UnpackRows = Callable[[slice], torch.Tensor]
"""Returns rows of the weight, [some, in], in the dtype of the input."""


def unpacked_product(
    input: torch.Tensor, out_features: int, unpack_rows: UnpackRows, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return input [..., in] times the transposed weight [out, in], plus the bias: [..., out] in the input's dtype.

    Equals `torch.nn.functional.linear` with the unpacked weight to the bit.
    """
    rows = _block_rows(input) if out_features % EVEN_ROWS == 0 and _in_blocks(input) else out_features
    if rows >= out_features:
        return functional.linear(input, unpack_rows(slice(0, out_features)), bias)
    flat = input.reshape(-1, input.shape[-1])
    out = flat.new_empty(flat.shape[0], out_features)
    for begin in range(0, out_features, rows):
        some = slice(begin, min(begin + rows, out_features))
        weight = unpack_rows(some).t()
        if bias is None:
            torch.mm(flat, weight, out=out[:, some])
        else:
            torch.addmm(bias[some], flat, weight, out=out[:, some])
    return out.reshape(*input.shape[:-1], out_features)


def _block_rows(input: torch.Tensor) -> int:
    of_cache = BLOCK_BYTES // (input.shape[-1] * input.element_size()) // 64 * 64
    return max(of_cache, ROWS_PER_THREAD * torch.get_num_threads())


def _in_blocks(input: torch.Tensor) -> bool:
    """Return whether blocks are faster and equal. Only products in fp32 have been measured; `out` knows no gradients.

    For inputs that are not contiguous, `linear` adds the bias after its product or multiplies in batches.
    """
    is_plain = not (torch.compiler.is_compiling() or (torch.is_grad_enabled() and input.requires_grad))
    is_fp32 = input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_plain and is_fp32 and input.device.type == "cpu" and input.is_contiguous()
