"""Z-Image's feed-forwards gate in place: the widest tensors of a pass are half as many, the numbers the same to the bit."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_z_image import FeedForward
from torch import nn
from torch.nn import functional


def gate_in_place(module: nn.Module) -> None:
    """For every feed-forward within; other models have none of this class."""
    for each in module.modules():
        if isinstance(each, FeedForward):
            each._forward_silu_gating = _gated


def _gated(gate: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """As the class has it; both are fresh from a product, so that nobody else sees the first one overwritten."""
    return functional.silu(gate, inplace=True).mul_(values)
