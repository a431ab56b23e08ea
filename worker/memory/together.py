"""Move a module's weights to a device as one allocation."""

from __future__ import annotations

import torch
from torch import nn

ALIGNED = 512
"""As CUDA's allocator aligns: each weight begins at a multiple of this many bytes."""


def move_together(module: nn.Module, device: torch.device) -> None:
    """Like `module.to(device)`, with all weights and buffers in one storage.

    CUDA's allocator gives each tensor above 10 MB memory of its own in whole pieces of 2 MB: one by one, the matrices
    of an 8-bit Z-Image would take 0.4 GB more than they hold. Not for weights that are cast at each use: what they are
    cast back to takes memory of its own, and this one allocation stays as long as anything else is in it.
    """
    tensors = [*module.parameters(), *module.buffers()]
    room = torch.empty(sum(_taken(each) for each in tensors), dtype=torch.uint8, device=device)
    begin = 0
    for tensor in tensors:
        place = room[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        place.copy_(tensor.data)
        begin += _taken(tensor)
        tensor.data = place


def _taken(tensor: torch.Tensor) -> int:
    return -(-tensor.nbytes // ALIGNED) * ALIGNED
