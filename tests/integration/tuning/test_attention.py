"""The attention backend is chosen by trying the available ones on the loaded model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from torch.nn.attention import SDPBackend

from core.errors import RenderError
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel
from tests.integration.tuning.conftest import MakeTinyModel, warmup_of
from worker.pipelines.tuning.attention import (
    choose_attention,
    fastest,
    local_backends,
    preferred_kernels,
    prepare_backend,
    set_attention,
)
from worker.pipelines.tuning.tune import Tuning

MATH, FLASH = "_native_math", "_native_flash"


@pytest.fixture(autouse=True)
def native_again() -> Iterator[None]:
    """Restore the backend, which is set for the whole process."""
    yield
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)
    prepare_backend("native")


def backend_of(tiny_model: TinyModel) -> str:
    """Return the backend of the model's attention."""
    processor: Any = tiny_model.pipeline.transformer.layers[0].attention.processor
    return str(processor._attention_backend.value)


def replace_backend(monkeypatch: pytest.MonkeyPatch, name: str, attention: Any) -> None:  # noqa: ANN401 - a backend's function
    """Make a backend compute with another function."""
    monkeypatch.setitem(_AttentionBackendRegistry._backends, AttentionBackendName(name), attention)


def test_the_fastest_is_taken_unless_the_gain_is_noise() -> None:
    assert fastest({"native": 1.0, "a": 0.9, "b": 0.8}) == "b"
    assert fastest({"native": 1.0, "a": 0.99}) == "native"
    assert fastest({"native": 1.0}) == "native"


def test_only_locally_available_backends_are_tried() -> None:
    names = local_backends()
    assert {"flash", "_native_cudnn", "sage", "xformers"} <= set(names)
    assert not any(name.endswith("_hub") for name in names)
    assert not {"native", "_native_flash", "_native_efficient"} & set(names)


def test_the_chosen_backend_is_set_and_logged_with_times(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("worker.pipelines.tuning.attention.fastest", lambda seconds: max(seconds, key=len))
    tiny_model = make_tiny_model()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(tiny_model.pipeline, warmup_of(tiny_model), [MATH]) == MATH
    assert backend_of(tiny_model) == MATH
    assert f"attention backend {MATH}; seconds a step: native " in caplog.text
    assert "experimental" not in caplog.text


def test_a_backend_that_refuses_masks_is_skipped(make_tiny_model: MakeTinyModel, caplog: pytest.LogCaptureFixture) -> None:
    tiny_model = make_tiny_model()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(tiny_model.pipeline, warmup_of(tiny_model), [FLASH]) == "native"
    assert f"attention backend {FLASH} skipped: `attn_mask` is not supported" in caplog.text
    assert backend_of(tiny_model) == "native"


def test_a_backend_that_is_not_installed_is_skipped(
    make_tiny_model: MakeTinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model = make_tiny_model()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(tiny_model.pipeline, warmup_of(tiny_model), ["flash"]) == "native"
    assert "attention backend flash skipped: Flash Attention backend 'flash' is not usable" in caplog.text


def test_a_backend_that_renders_another_image_is_skipped(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace_backend(monkeypatch, MATH, lambda query, value: value.roll(7, 1) * -20)
    monkeypatch.setattr(_AttentionBackendRegistry, "_supported_arg_names", {**names_with(MATH, {"query", "value"})})
    tiny_model = make_tiny_model()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(tiny_model.pipeline, warmup_of(tiny_model), [MATH]) == "native"
    assert f"attention backend {MATH} skipped: its image is" in caplog.text


def names_with(backend: str, names: set[str]) -> dict[AttentionBackendName, set[str]]:
    """Return the registry's table of arguments with one row changed."""
    return {**_AttentionBackendRegistry._supported_arg_names, AttentionBackendName(backend): names}


def test_a_backend_that_breaks_the_device_stops_the_load(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    replace_backend(monkeypatch, MATH, broken)
    tiny_model = make_tiny_model()
    with pytest.raises(RenderError, match=r"'_native_math' broke the device.*IMAGEFARM_ATTENTION_BACKEND=native") as caught:
        choose_attention(tiny_model.pipeline, warmup_of(tiny_model), [MATH])
    assert caught.value.code == "invalid_input"


class KernelOrders:
    """Records torch's kernel order in each attention call: `text` in the encoder, `steps` in the denoiser."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.text: list[list[int]] = []
        self.steps: list[list[int]] = []
        real = torch.nn.functional.scaled_dot_product_attention

        def attend(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - torch's own arguments
            (self.text if args else self.steps).append(torch._C._get_sdp_priority_order())
            return real(*args, **options)

        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)


def test_cudnn_is_preferred_in_steps_without_disabling_other_kernels(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model = make_tiny_model()
    before = torch._C._get_sdp_priority_order()
    orders = KernelOrders(monkeypatch)
    set_attention(tiny_model.pipeline, "_native_cudnn")
    assert backend_of(tiny_model) == "native"
    tiny_model.alone(a_request(1, steps=1))  # A CPU has no such kernel, and another one is used.
    assert {order[0] for order in orders.steps} == {SDPBackend.CUDNN_ATTENTION.value}
    assert {frozenset(order) for order in orders.steps} == {frozenset(before)}
    set_attention(tiny_model.pipeline, "native")
    orders.steps.clear()
    tiny_model.alone(a_request(2, steps=1))
    assert orders.steps[0] == orders.text[0] == before


def test_strict_requests_ignore_the_chosen_backend(make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model = make_tiny_model(dtype="float32")
    strict = a_request(1, steps=2, strict=True)
    expected = tiny_model.expected(strict, "latent")
    before = torch._C._get_sdp_priority_order()
    orders = KernelOrders(monkeypatch)
    set_attention(tiny_model.pipeline, "_native_cudnn")
    assert torch.equal(tiny_model.alone(strict).latents[0], expected)
    assert {tuple(order) for order in orders.steps} == {tuple(before)}
    replace_backend(monkeypatch, MATH, lambda query, *_, **__: torch.zeros_like(query))
    set_attention(tiny_model.pipeline, MATH)
    assert torch.equal(tiny_model.alone(strict).latents[0], expected)
    assert backend_of(tiny_model) == MATH
    assert not torch.equal(tiny_model.alone(a_request(1, steps=2)).latents[0], expected)


def test_backends_that_disable_kernels_forbid_concurrent_compute(make_tiny_model: MakeTinyModel) -> None:
    elsewhere: list[str] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def attend(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - torch's own arguments
        if args:  # The text encoder's call, before the steps.
            return real(*args, **options)
        query = torch.ones(1, 1, 4, 8)
        with ThreadPoolExecutor(1) as pool:
            made = pool.submit(real, query, query, query)
            elsewhere.append(str(made.exception()))
        raise ValueError("stop after the first call")

    tiny_model = make_tiny_model()
    for name in ("_native_efficient", "native", "_native_cudnn"):
        set_attention(tiny_model.pipeline, name)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="stop after the first call"):
            patch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
            tiny_model.alone(a_request(1, steps=1))
    assert elsewhere[0] != "None", elsewhere
    assert elsewhere[1:] == ["None", "None"]
    allowed = [
        Tuning(name, "false", "default", "bfloat16").allows_concurrent_compute
        for name in ("_native_efficient", "_native_cudnn")
    ]
    assert allowed == [False, True]


def test_a_unet_has_no_backends_to_choose_from(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model("sd-turbo")
    assert choose_attention(tiny_model.pipeline, warmup_of(tiny_model), [MATH]) == "native"
    set_attention(tiny_model.pipeline, "native")
    with pytest.raises(RenderError, match="no backends to choose from; use native or auto"):
        set_attention(tiny_model.pipeline, MATH)


@pytest.mark.parametrize("wanted", ["auto", "native"])
def test_a_unet_does_not_keep_the_kernel_of_the_model_before_it(wanted: str, make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model("sd-turbo")
    prepare_backend("_native_cudnn")
    if wanted == "auto":
        choose_attention(tiny_model.pipeline, warmup_of(tiny_model), [])
    else:
        set_attention(tiny_model.pipeline, wanted)
    assert preferred_kernels == []


@pytest.mark.parametrize("name", ["flash", "no-such"])
def test_an_unavailable_configured_backend_is_an_error(name: str, make_tiny_model: MakeTinyModel) -> None:
    with pytest.raises(RenderError, match=f"'{name}' cannot be used here") as caught:
        set_attention(make_tiny_model().pipeline, name)
    assert caught.value.code == "invalid_input"
