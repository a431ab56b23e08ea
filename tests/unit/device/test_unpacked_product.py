"""Products by weights that are unpacked block by block equal those by the whole weight, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from worker.device import unpacked_product as module
from worker.device.unpacked_product import unpacked_product

ROWS, WIDTH, OUT = 24, 96, 320


class Weight:
    """A weight in bf16 that notes which rows it was asked for."""

    def __init__(self) -> None:
        self.stored = torch.randn(OUT, WIDTH, generator=torch.Generator().manual_seed(1)).bfloat16()
        self.blocks: list[tuple[int, int]] = []

    def unpack(self, some: slice) -> torch.Tensor:
        self.blocks.append((some.start, some.stop))
        return self.stored[some].float()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 64 * WIDTH * 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(ROWS, WIDTH), (2, ROWS, WIDTH), (2, 3, 4, WIDTH), (WIDTH,), (0, WIDTH)])
def test_blocks_equal_the_whole_to_the_bit(shape: tuple[int, ...], has_bias: bool) -> None:
    weight, rows, bias = Weight(), inputs(*shape), inputs(OUT) if has_bias else None
    found = unpacked_product(rows, OUT, weight.unpack, bias)
    assert weight.blocks == [(0, 128), (128, 256), (256, 320)]
    assert found.shape == (*shape[:-1], OUT)
    assert torch.equal(found, functional.linear(rows, weight.stored.float(), bias))


@pytest.mark.parametrize("size", [2**23, 2**24])
def test_a_large_layer_equals_the_whole_to_the_bit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    stored, rows = inputs(3008, 2560).bfloat16(), inputs(70, 2560)
    with torch.inference_mode():
        found = unpacked_product(rows, 3008, lambda some: stored[some].float())
        assert torch.equal(found, functional.linear(rows, stored.float()))


def test_other_dtypes_and_gradients_take_the_whole_weight() -> None:
    weight = Weight()
    half = unpacked_product(inputs(ROWS, WIDTH).bfloat16(), OUT, lambda some: weight.unpack(some).bfloat16())
    learning = unpacked_product(inputs(ROWS, WIDTH).requires_grad_(), OUT, weight.unpack)
    assert weight.blocks == [(0, OUT)] * 2
    assert half.dtype == torch.bfloat16
    assert learning.requires_grad


@pytest.mark.parametrize("out", [1025, 1031, 1064])
def test_a_few_rows_beyond_the_last_block_equal_the_whole_to_the_bit(out: int) -> None:
    stored, rows = inputs(out, 2048).bfloat16(), inputs(33, 2048)
    found = unpacked_product(rows, out, lambda some: stored[some].float())
    assert torch.equal(found, functional.linear(rows, stored.float()))


@pytest.mark.parametrize(("rows", "has_bias"), [(33, True), (3, False)])
def test_inputs_that_are_not_contiguous_equal_the_whole_to_the_bit(rows: int, has_bias: bool) -> None:
    stored, bias = inputs(1024, 3072).bfloat16(), inputs(1024) if has_bias else None
    turned = inputs(rows, 2, 3072).transpose(0, 1)
    found = unpacked_product(turned, 1024, lambda some: stored[some].float(), bias)
    assert torch.equal(found, functional.linear(turned, stored.float(), bias))


def test_autocast_takes_the_whole_weight() -> None:
    weight = Weight()
    with torch.autocast("cpu", torch.bfloat16):
        found = unpacked_product(inputs(ROWS, WIDTH), OUT, weight.unpack)
    assert weight.blocks == [(0, OUT)]
    assert found.dtype == torch.bfloat16
