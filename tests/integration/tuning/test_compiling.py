"""Compiled blocks give close images in every mode; a mode that fails is abandoned and logged."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from core.errors import RenderError
from tests.compiling import needs_inductor
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel
from tests.integration.tuning.conftest import MakeTinyModel, warmup_of
from worker.pipelines.tuning.compiling import compile_and_try

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation:UserWarning"),
]
CLOSE = 1e-3


def latents(tiny_model: TinyModel) -> torch.Tensor:
    """Return the latents of one small request."""
    found: torch.Tensor = tiny_model.alone(a_request(0, size=128, steps=2)).latents
    return found


def tensors_of(output: Any) -> list[torch.Tensor]:  # noqa: ANN401 - lists in tuples
    """Return all tensors in nested lists and tuples, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in tensors_of(part)]


@needs_inductor
def test_a_compiled_model_is_close_to_the_plain_one(make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile with positions as real numbers, as on a GPU."""
    tiny_model = make_tiny_model(dtype="float32")
    expected = latents(tiny_model)
    monkeypatch.setattr(
        type(tiny_model.pipeline.transformer), "_for_blocks", lambda _, positions, __: torch.view_as_real(positions)
    )
    assert compile_and_try(tiny_model.pipeline, "default", lambda: None) == "true"
    assert torch._inductor.config.max_autotune_gemm_backends == "ATEN", "a GPU would autotune kernels for minutes"
    block = tiny_model.pipeline.transformer.layers[0]
    assert block._compiled_call_impl is not None
    assert (latents(tiny_model) - expected).abs().max() < CLOSE


def test_cuda_graphs_get_step_marks_and_outputs_survive_the_next_replay(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: steps.append("step"))
    tiny_model = make_tiny_model(dtype="float32")
    transformer = tiny_model.pipeline.transformer
    given: list[torch.Tensor] = []
    transformer.register_forward_hook(lambda _module, _inputs, output: given.extend(tensors_of(output)))
    monkeypatch.setattr(type(transformer), "compile_repeated_blocks", lambda *_, **__: None)
    assert compile_and_try(tiny_model.pipeline, "reduce-overhead", lambda: None) == "true"
    kept: list[torch.Tensor] = []
    transformer.register_forward_hook(lambda _module, _inputs, output: kept.extend(tensors_of(output)))
    latents(tiny_model)
    assert len(steps) == 3, "one call for the caption, and two steps"
    assert len(given) == 4, "caption and positions, and two predictions"
    assert all(torch.equal(first, second) for first, second in zip(given, kept, strict=True))
    assert {part.data_ptr() for part in given}.isdisjoint(part.data_ptr() for part in kept)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_failing_mode_is_undone(
    mode: str, make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model = make_tiny_model(dtype="float32")
    expected = latents(tiny_model)
    transformer = tiny_model.pipeline.transformer

    def planted(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler here")

    def compile_to_failure(model: object, **_: object) -> None:
        for block in transformer.layers:
            block._compiled_call_impl = planted

    monkeypatch.setattr(type(transformer), "compile_repeated_blocks", compile_to_failure)
    warmup = warmup_of(tiny_model)

    def try_out() -> None:
        warmup.render([warmup.usual()])

    with caplog.at_level(logging.WARNING):
        assert compile_and_try(tiny_model.pipeline, mode, try_out) == "failed"
    assert f"compiling the model's blocks ({mode}) failed" in caplog.text
    assert not transformer._forward_hooks
    assert torch.equal(latents(tiny_model), expected)


def test_nothing_is_compiled_without_repeated_blocks(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model = make_tiny_model()
    monkeypatch.setattr(type(tiny_model.pipeline.transformer), "_repeated_blocks", None)
    tried: list[str] = []
    assert compile_and_try(tiny_model.pipeline, "default", lambda: tried.append("once")) == "false"
    assert tried == ["once"]


def test_compiled_blocks_that_break_the_device_stop_the_load(make_tiny_model: MakeTinyModel) -> None:
    tried: list[str] = []

    def broken() -> None:
        tried.append("once")
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RenderError, match=r"broke the device.*IMAGEFARM_COMPILE_BLOCKS=off") as caught:
        compile_and_try(make_tiny_model().pipeline, "default", broken)
    assert caught.value.code == "invalid_input"
    assert tried == ["once"]
