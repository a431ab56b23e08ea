"""The attention backend is chosen by trying those that are there on the loaded model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from core.errors import RenderError
from tests.integration.engine.twins import Twin
from tests.integration.tuning.conftest import MakeTwin, rehearsal_of
from worker.pipelines.tuning.attention import choose_attention, fastest, local_backends, set_attention

MATH, FLASH = "_native_math", "_native_flash"


@pytest.fixture(autouse=True)
def native_again() -> Iterator[None]:
    """The backend is the process's, not the model's."""
    yield
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)


def backend_of(twin: Twin) -> str:
    """What the model's attention uses now."""
    processor: Any = twin.pipeline.transformer.layers[0].attention.processor
    return str(processor._attention_backend.value)


def plant(monkeypatch: pytest.MonkeyPatch, name: str, attention: Any) -> None:  # noqa: ANN401 - a backend's function
    """Have a backend compute by another function."""
    monkeypatch.setitem(_AttentionBackendRegistry._backends, AttentionBackendName(name), attention)


def test_the_fastest_is_taken_unless_the_gain_is_noise() -> None:
    assert fastest({"native": 1.0, "a": 0.9, "b": 0.8}) == "b"
    assert fastest({"native": 1.0, "a": 0.99}) == "native"
    assert fastest({"native": 1.0}) == "native"


def test_only_what_is_on_this_machine_is_tried() -> None:
    names = local_backends()
    assert {"flash", "_native_cudnn", "_native_flash", "sage", "xformers"} <= set(names)
    assert not any(name.endswith("_hub") for name in names)
    assert "native" not in names


def test_the_chosen_one_is_set_and_logged_with_times(
    make_twin: MakeTwin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("worker.pipelines.tuning.attention.fastest", lambda seconds: max(seconds, key=len))
    twin = make_twin()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(twin.pipeline, rehearsal_of(twin), [MATH]) == MATH
    assert backend_of(twin) == MATH
    assert f"attention backend {MATH}; seconds a step: native " in caplog.text
    assert "experimental" not in caplog.text


def test_one_that_refuses_masks_is_passed_over(make_twin: MakeTwin, caplog: pytest.LogCaptureFixture) -> None:
    twin = make_twin()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(twin.pipeline, rehearsal_of(twin), [FLASH]) == "native"
    assert f"attention backend {FLASH} passed over: `attn_mask` is not supported" in caplog.text
    assert backend_of(twin) == "native"


def test_one_that_is_not_installed_is_passed_over(make_twin: MakeTwin, caplog: pytest.LogCaptureFixture) -> None:
    twin = make_twin()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(twin.pipeline, rehearsal_of(twin), ["flash"]) == "native"
    assert "attention backend flash passed over: Flash Attention backend 'flash' is not usable" in caplog.text


def test_one_that_paints_another_picture_is_passed_over(
    make_twin: MakeTwin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plant(monkeypatch, MATH, lambda query, value: value.roll(7, 1) * -20)
    monkeypatch.setattr(_AttentionBackendRegistry, "_supported_arg_names", {**names_with(MATH, {"query", "value"})})
    twin = make_twin()
    with caplog.at_level(logging.INFO, "worker"):
        assert choose_attention(twin.pipeline, rehearsal_of(twin), [MATH]) == "native"
    assert f"attention backend {MATH} passed over: its picture is" in caplog.text


def names_with(backend: str, names: set[str]) -> dict[AttentionBackendName, set[str]]:
    """The registry's table of arguments with one row changed."""
    return {**_AttentionBackendRegistry._supported_arg_names, AttentionBackendName(backend): names}


def test_one_that_breaks_the_device_stops_the_load(make_twin: MakeTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    plant(monkeypatch, MATH, broken)
    twin = make_twin()
    with pytest.raises(RenderError, match=r"'_native_math' broke the device.*IMAGEFARM_ATTENTION_BACKEND=native") as caught:
        choose_attention(twin.pipeline, rehearsal_of(twin), [MATH])
    assert caught.value.code == "invalid_input"


def test_a_unet_has_nothing_to_choose(make_twin: MakeTwin) -> None:
    twin = make_twin("sd-turbo")
    assert choose_attention(twin.pipeline, rehearsal_of(twin), [MATH]) == "native"
    set_attention(twin.pipeline, "native")
    with pytest.raises(RenderError, match="no backends to choose from; use native or auto"):
        set_attention(twin.pipeline, MATH)


@pytest.mark.parametrize("name", ["flash", "no-such"])
def test_a_named_backend_that_cannot_be_had_is_an_error(name: str, make_twin: MakeTwin) -> None:
    with pytest.raises(RenderError, match=f"'{name}' cannot be used here") as caught:
        set_attention(make_twin().pipeline, name)
    assert caught.value.code == "invalid_input"
