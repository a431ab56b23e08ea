"""Feed-forwards that gate in place give what the stock ones give, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_z_image import FeedForward, ZImageTransformerBlock

from worker.memory.gating import gate_in_place


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_to_the_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block: Any = ZImageTransformerBlock(0, 48, 2, 2, 1e-5, True, modulation=False).to(dtype)
    inputs = torch.randn(3, 70, 48, dtype=dtype)
    with torch.no_grad():
        stock = block.feed_forward(inputs)
        gate_in_place(block)
        assert torch.equal(block.feed_forward(inputs), stock)


def test_the_first_product_is_overwritten() -> None:
    feed_forward = FeedForward(8, 16)
    gate_in_place(feed_forward)
    gate, values = torch.ones(2, 16), torch.ones(2, 16)
    assert feed_forward._forward_silu_gating(gate, values).data_ptr() == gate.data_ptr()
    assert torch.equal(values, torch.ones(2, 16))
