"""Differences between meta tensors and a GPU's: fused attention, and numbers that the code reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FLASH_MAX_WIDTH = 256
"""Widest head of the flash kernel."""
EFFICIENT_MAX_WIDTH = 128
"""For wider heads the memory-efficient kernel accumulates in its own fp32 buffer."""


class CudaLike(TorchFunctionMode):
    """Replaces torch functions in which a meta tensor would compute differently from CUDA, or has no value to return."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - any function's result
        first = args[0] if args else None
        if func is functional.scaled_dot_product_attention:
            return fused_attention(*args, **(kwargs or {}))
        if isinstance(first, torch.Tensor) and first.is_meta:
            if func is torch.Tensor.__bool__:
                return True  # For check_finite.
            if func is torch.Tensor.tolist:
                return [0.0] * first.numel()
        return func(*args, **(kwargs or {}))


def fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None, **_: object
) -> torch.Tensor:
    """Allocate what CUDA's kernels do for bf16 from compute capability 8.0: never the matrix of queries by keys.

    The flash kernel: its output and the log-sum-exp. The memory-efficient one, for masks and wide heads: its output, the
    mask in the query's dtype, and a sum in fp32 for wide heads. [batch, heads, positions, width], laid out by position.
    """
    batch, heads, positions, width = query.shape
    extra = []  # Alive until the output exists, as in the kernel.
    if attn_mask is None and width <= FLASH_MAX_WIDTH:
        extra.append(query.new_empty(batch, heads, positions, dtype=torch.float32))
    else:
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            extra.append(torch.empty_like(attn_mask, dtype=query.dtype))
        if width > EFFICIENT_MAX_WIDTH:
            extra.append(query.new_empty(batch, positions, heads, width, dtype=torch.float32))
    return query.new_empty(batch, positions, heads, value.shape[-1]).transpose(1, 2)
