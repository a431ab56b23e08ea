"""8-bit matmul is used only where it works on the loaded model."""

from __future__ import annotations

import logging

import pytest
import torch

from tests.integration.tuning.conftest import CPU, MakeTinyModel, warmup_of
from worker.memory import packed_layers
from worker.memory.quantize import quantize, supports_packed_matmul
from worker.memory.tiers import PackedForm
from worker.pipelines.tuning import matmul
from worker.pipelines.tuning.matmul import choose_matmul, try_packed_matmul


@pytest.mark.parametrize(
    ("form", "capability", "expected"),
    [("int8", (7, 5), False), ("int8", (8, 0), True), ("fp8", (8, 6), False), ("fp8", (8, 9), True), ("fp8", (9, 0), True)],
)
def test_which_gpu_multiply_in_8_bits(
    form: PackedForm, capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert supports_packed_matmul(form, torch.device("cuda", 0)) is expected
    assert not supports_packed_matmul(form, CPU)


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_a_working_product_is_used_and_logged(
    form: PackedForm, make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model = make_tiny_model()
    transformer = quantize(tiny_model.pipeline.transformer, form, torch.bfloat16)
    monkeypatch.setattr(matmul, "supports_packed_matmul", lambda form, device: True)
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_matmul(transformer, warmup_of(tiny_model), "bfloat16") == form
    assert transformer.get_submodule("layers.0.attention.to_q").uses_packed_matmul
    assert f"matmul in {form}: " in caplog.text


def test_a_device_without_products_unpacks(make_tiny_model: MakeTinyModel, caplog: pytest.LogCaptureFixture) -> None:
    tiny_model = make_tiny_model()
    assert choose_matmul(tiny_model.pipeline.transformer, warmup_of(tiny_model), "bfloat16") == "bfloat16"
    transformer = quantize(tiny_model.pipeline.transformer, "int8", torch.bfloat16)
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_matmul(transformer, warmup_of(tiny_model), "bfloat16") == "bfloat16"
    assert "8-bit weights are unpacked, this device does not multiply in int8" in caplog.text
    assert not transformer.get_submodule("layers.0.attention.to_q").uses_packed_matmul


def test_a_product_that_raises_is_switched_off(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("self.size(0) needs to be greater than 16")

    tiny_model = make_tiny_model()
    transformer = quantize(tiny_model.pipeline.transformer, "int8", torch.bfloat16)
    monkeypatch.setattr(packed_layers, "int8_matmul", refuse)
    with caplog.at_level(logging.WARNING):
        assert not try_packed_matmul(transformer, "int8", warmup_of(tiny_model))
    assert "matmul in int8 does not work here" in caplog.text
    warmup_of(tiny_model).render([warmup_of(tiny_model).usual()])


def test_a_product_that_is_too_coarse_is_switched_off(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model = make_tiny_model()
    transformer = quantize(tiny_model.pipeline.transformer, "int8", torch.bfloat16)
    monkeypatch.setattr(
        packed_layers, "int8_matmul", lambda input, weight, scale: torch.ones_like(input[..., :1]).expand_as(input)
    )
    with caplog.at_level(logging.WARNING):
        assert not try_packed_matmul(transformer, "int8", warmup_of(tiny_model))
    assert "matmul in int8 is too coarse for this model" in caplog.text
    assert not transformer.get_submodule("layers.0.attention.to_q").uses_packed_matmul


def test_a_cpu_multiplies_where_that_was_measured_to_be_faster(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model()
    transformer = quantize(tiny_model.pipeline.transformer, "int8", torch.bfloat16)
    assert choose_matmul(transformer, warmup_of(tiny_model), "bfloat16", cpu_multiplies_int8=True) == "int8"
    assert transformer.get_submodule("layers.0.attention.to_q").uses_packed_matmul
    floats = quantize(make_tiny_model().pipeline.transformer, "fp8", torch.bfloat16)
    assert choose_matmul(floats, warmup_of(tiny_model), "bfloat16", cpu_multiplies_int8=True) == "bfloat16"
