"""From the host to a card without waiting for what the card has to do."""

from __future__ import annotations

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy of a tensor on the host, in the order of the device's current stream; a card's may not be there yet on return.

    An ordinary copy ends when all that was queued before it has ended: the loop would stand still for a step.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
