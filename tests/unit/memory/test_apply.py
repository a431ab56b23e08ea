"""Feed-forwards that gate in place equal the stock ones bit for bit; weights move in one allocation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_z_image import FeedForward, ZImageTransformerBlock
from torch import nn

from worker.memory.apply import ALIGNMENT_BYTES, move_in_one_allocation
from worker.memory.packed_layers import Fp8Linear, Int8Linear
from worker.models.z_image_transformer import gate_in_place

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gating_in_place_is_bit_identical(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block: Any = ZImageTransformerBlock(0, 48, 2, 2, 1e-5, True, modulation=False).to(dtype)
    inputs = torch.randn(3, 70, 48, dtype=dtype)
    with torch.no_grad():
        stock = block.feed_forward(inputs)
        gate_in_place(block)
        assert torch.equal(block.feed_forward(inputs), stock)


def test_the_gate_is_overwritten() -> None:
    feed_forward = FeedForward(8, 16)
    gate_in_place(feed_forward)
    gate, values = torch.ones(2, 16), torch.ones(2, 16)
    assert feed_forward._forward_silu_gating(gate, values).data_ptr() == gate.data_ptr()
    assert torch.equal(values, torch.ones(2, 16))


class Mixed(nn.Module):
    """Weights of several kinds and sizes, one of them used twice, and a buffer without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Linear(5, 3)
        self.tied = nn.Linear(5, 3)
        self.tied.weight = self.plain.weight
        self.packed = Int8Linear(32, 16, bias=True, dtype=torch.bfloat16)
        self.bytes = Fp8Linear(32, 16, bias=False, dtype=torch.bfloat16)
        for layer in (self.packed, self.bytes):
            layer.pack(torch.randn(16, 32))
        self.packed.bias = nn.Parameter(torch.randn(16).bfloat16(), requires_grad=False)
        self.register_buffer("count", torch.tensor(7))


def test_weights_move_into_one_storage_unchanged() -> None:
    module = Mixed()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    move_in_one_allocation(module, CPU)
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], tensor) and before[name].dtype == tensor.dtype for name, tensor in after.items())
    assert len({tensor.untyped_storage().data_ptr() for tensor in after.values()}) == 1
    assert all((tensor.storage_offset() * tensor.element_size()) % ALIGNMENT_BYTES == 0 for tensor in after.values())
    assert module.tied.weight is module.plain.weight


@pytest.mark.parametrize("size", [0, 1])
def test_modules_with_few_parameters_move(size: int) -> None:
    module = nn.ParameterList([nn.Parameter(torch.ones(3)) for _ in range(size)])
    move_in_one_allocation(module, CPU)
    assert all(torch.equal(each, torch.ones(3)) for each in module)
