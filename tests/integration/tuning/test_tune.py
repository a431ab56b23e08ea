"""Tuning as a whole, and the passes that are rendered before the first request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from core.render import RenderRequest
from core.settings import Settings
from tests.integration.tuning.conftest import MakeTinyModel, warmup_of
from worker.engine.spec import spec_from_settings
from worker.pipelines.tuning import tune as tuning
from worker.pipelines.tuning.attention import AUTO
from worker.pipelines.tuning.tune import Tuning, TuningOptions, tune
from worker.pipelines.tuning.warmup import Warmup, warm_up


def sizes(warmup: Warmup) -> list[tuple[int, int]]:
    """Return (width, images) of each warm-up pass."""
    return [(requests[0].width, len(requests)) for requests in warmup.passes()]


def test_the_default_size_and_512_are_warmed_up(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model()
    captions, guided = [(512, 1), (512, 1), (512, 2)], [*[(1024, 1)] * 3, (512, 2)]
    found = sizes(Warmup(tiny_model.family, tiny_model.model, torch.device("cpu"), 8192))
    assert found == [(1024, 1), (1024, 2), (512, 1), (512, 2), *captions, *guided]
    found = sizes(Warmup(tiny_model.family, tiny_model.model, torch.device("cpu"), 4096))
    assert found == [(1024, 1), (512, 1), (512, 2), *captions, *[(512, 1)] * 3, (512, 2)]
    base = make_tiny_model("z-image")
    assert sizes(Warmup(base.family, base.model, torch.device("cpu"), 8192))[-4:] == guided
    stock = make_tiny_model("flux2-klein-4b")
    assert sizes(Warmup(stock.family, stock.model, torch.device("cpu"), 8192)) == [
        (1024, 1),
        (512, 1),
        *captions[:2],
        (1024, 1),
    ]


def test_warming_up_renders_each_pass_and_reports_its_progress(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renders nothing, which takes most of a minute; a test of the graphs that the warm-up leaves renders all passes."""
    events: list[object] = []
    monkeypatch.setattr(Warmup, "render", lambda _, requests: events.append(requests))
    warmup = warmup_of(make_tiny_model())
    warm_up(warmup, lambda stage, fraction: events.append((stage, fraction)))
    assert events[::2] == [("warming up", index / 11) for index in range(12)]
    assert events[1::2] == warmup.passes()


def test_a_pair_that_does_not_fit_does_not_stop_the_load(
    make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def out_of_memory(_warmup: Warmup, requests: Sequence[RenderRequest]) -> None:
        if len(requests) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Warmup, "render", out_of_memory)
    warmup, most = warmup_of(make_tiny_model()), 1
    warm_up(warmup, lambda *_: None)
    assert "2 images of 128 px do not fit in one pass: CUDA out of memory." in caplog.text
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        warm_up(warmup, lambda *_: None)


def test_captions_of_the_masked_warm_up_differ_in_length(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model()
    request = warmup_of(tiny_model).masked()
    lengths = [-(-len(caption) // 32) for caption in tiny_model.family.encode(request).all()]
    assert lengths[0] > lengths[1]


@pytest.mark.parametrize("model_id", ["z-image", "sd-turbo", "flux2-klein-4b"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_every_family_can_be_warmed_up(model_id: str, make_tiny_model: MakeTinyModel) -> None:
    warmup = warmup_of(make_tiny_model(model_id))
    for request in (warmup.usual(), warmup.masked()):
        found = warmup.render([request])
        assert found.seconds > 0
        assert found.images[0].shape == (request.height, request.width, 3)
        assert found.distance(found) == 0


def test_nothing_is_tried_on_a_cpu(make_tiny_model: MakeTinyModel) -> None:
    tiny_model = make_tiny_model()
    found = tune(
        tiny_model.pipeline, warmup_of(tiny_model), TuningOptions(AUTO, False, "default"), "bfloat16", lambda *_: None
    )
    assert found == Tuning("native", "false", "default", "bfloat16")
    assert found.versions() == {"compiled_blocks": "false", "matmul": "bfloat16"}


def test_the_mode_is_recorded_if_it_works() -> None:
    assert Tuning("native", "true", "reduce-overhead", "int8").versions()["compile_mode"] == "reduce-overhead"
    assert "compile_mode" not in Tuning("native", "failed", "reduce-overhead", "int8").versions()


@pytest.mark.parametrize(("wanted", "expected"), [(AUTO, ("native", "true")), ("flash", ("flash", "failed"))])
def test_an_automatic_backend_does_not_prevent_compilation(
    wanted: str, expected: tuple[str, str], make_tiny_model: MakeTinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = iter(["failed", "true"])
    monkeypatch.setattr(tuning, "compile_and_try", lambda *_: next(results))
    monkeypatch.setattr(tuning, "_attention", lambda *_: "flash")
    tiny_model = make_tiny_model()
    found = tune(
        tiny_model.pipeline, warmup_of(tiny_model), TuningOptions(wanted, True, "default"), "bfloat16", lambda *_: None
    )
    assert (found.attention_backend, found.compiled_blocks) == expected


def test_settings_reach_the_engine(tmp_path: Path) -> None:
    plain = spec_from_settings(Settings(data_dir=tmp_path), "demo")
    assert (plain.attention_backend, plain.compile_blocks, plain.compile_mode) == ("auto", None, "default")
    named = Settings(data_dir=tmp_path, attention_backend="flash", compile_blocks="off", compile_mode="reduce-overhead")
    found = spec_from_settings(named, "demo")
    assert (found.attention_backend, found.compile_blocks, found.compile_mode) == ("flash", False, "reduce-overhead")
    assert spec_from_settings(Settings(data_dir=tmp_path, compile_blocks="on"), "demo").compile_blocks is True
