"""Weights that are moved together: the same numbers, in one storage."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from worker.memory.layers import Fp8Linear, Int8Linear
from worker.memory.together import ALIGNED, move_together

CPU = torch.device("cpu")


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


def test_one_storage_with_the_same_numbers() -> None:
    module = Mixed()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    move_together(module, CPU)
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], tensor) and before[name].dtype == tensor.dtype for name, tensor in after.items())
    assert len({tensor.untyped_storage().data_ptr() for tensor in after.values()}) == 1
    assert all((tensor.storage_offset() * tensor.element_size()) % ALIGNED == 0 for tensor in after.values())
    assert module.tied.weight is module.plain.weight


@pytest.mark.parametrize("size", [0, 1])
def test_a_module_with_next_to_nothing(size: int) -> None:
    module = nn.ParameterList([nn.Parameter(torch.ones(3)) for _ in range(size)])
    move_together(module, CPU)
    assert all(torch.equal(each, torch.ones(3)) for each in module)
