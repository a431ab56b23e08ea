"""Products in 8 bits are used only where they work on the loaded model."""

from __future__ import annotations

import logging

import pytest
import torch

from tests.integration.tuning.conftest import CPU, MakeTinyModel, warmup_of
from worker.memory import packed_layers
from worker.memory.quantize import quantize, supports_product
from worker.memory.tiers import PackedForm
from worker.pipelines.tuning import matmul
from worker.pipelines.tuning.matmul import choose_matmul, try_product


@pytest.mark.parametrize(
    ("form", "card", "expected"),
    [("int8", (7, 5), False), ("int8", (8, 0), True), ("fp8", (8, 6), False), ("fp8", (8, 9), True), ("fp8", (9, 0), True)],
)
def test_which_cards_multiply_in_8_bits(
    form: PackedForm, card: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: card)
    assert supports_product(form, torch.device("cuda", 0)) is expected
    assert not supports_product(form, CPU)


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_a_working_product_is_used_and_logged(
    form: PackedForm, make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model = make_tiny_model()
    transformer = quantize(tiny_model.pipeline.transformer, form, torch.bfloat16)
    monkeypatch.setattr(matmul, "supports_product", lambda form, device: True)
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_matmul(transformer, warmup_of(tiny_model), "bfloat16") == form
    assert transformer.get_submodule("layers.0.attention.to_q").multiplies_packed
    assert f"products in {form}: " in caplog.text


def test_a_device_without_products_unpacks(make_tiny_model: MakeTinyModel, caplog: pytest.LogCaptureFixture) -> None:
    tiny_model = make_tiny_model()
    assert choose_matmul(tiny_model.pipeline.transformer, warmup_of(tiny_model), "bfloat16") == "bfloat16"
    transformer = quantize(tiny_model.pipeline.transformer, "int8", torch.bfloat16)
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_matmul(transformer, warmup_of(tiny_model), "bfloat16") == "bfloat16"
    assert "8-bit weights are unpacked, this device does not multiply in int8" in caplog.text
    assert not transformer.get_submodule("layers.0.attention.to_q").multiplies_packed


def test_a_product_that_raises_is_switched_off(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("self.size(0) needs to be greater than 16")

    tiny_model = make_tiny_model()
    transformer = quantize(tiny_model.pipeline.transformer, "int8", torch.bfloat16)
    monkeypatch.setattr(packed_layers, "int8_product", refuse)
    with caplog.at_level(logging.WARNING):
        assert not try_product(transformer, "int8", warmup_of(tiny_model))
    assert "products in int8 do not work here" in caplog.text
    warmup_of(tiny_model).render([warmup_of(tiny_model).usual()])


def test_a_product_that_is_too_coarse_is_switched_off(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model = make_tiny_model()
    transformer = quantize(tiny_model.pipeline.transformer, "int8", torch.bfloat16)
    monkeypatch.setattr(
        packed_layers, "int8_product", lambda input, weight, scale: torch.ones_like(input[..., :1]).expand_as(input)
    )
    with caplog.at_level(logging.WARNING):
        assert not try_product(transformer, "int8", warmup_of(tiny_model))
    assert "products in int8 are too coarse for this model" in caplog.text
    assert not transformer.get_submodule("layers.0.attention.to_q").multiplies_packed
