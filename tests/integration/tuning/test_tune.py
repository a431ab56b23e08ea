"""All parts together, and what is rendered before the first user's request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from core.render import RenderRequest
from core.settings import Settings
from tests.integration.tuning.conftest import MakeTwin, rehearsal_of
from worker.engine.from_settings import engine_spec
from worker.pipelines.tuning import tune as tuning
from worker.pipelines.tuning.attention import AUTO
from worker.pipelines.tuning.rehearsal import Rehearsal, warm_up
from worker.pipelines.tuning.tune import Tuning, Wishes, tune


def sizes(rehearsal: Rehearsal) -> list[tuple[int, int]]:
    """(width, images) of each first pass."""
    return [(requests[0].width, len(requests)) for requests in rehearsal.passes()]


def test_the_default_size_and_512_are_warmed_up(make_twin: MakeTwin) -> None:
    twin = make_twin()
    captions, guided = [(512, 1), (512, 1), (512, 2)], [*[(1024, 1)] * 3, (512, 2)]
    found = sizes(Rehearsal(twin.family, twin.model, torch.device("cpu"), 8192))
    assert found == [(1024, 1), (1024, 2), (512, 1), (512, 2), *captions, *guided]
    found = sizes(Rehearsal(twin.family, twin.model, torch.device("cpu"), 4096))
    assert found == [(1024, 1), (512, 1), (512, 2), *captions, *[(512, 1)] * 3, (512, 2)]
    base = make_twin("z-image")
    assert sizes(Rehearsal(base.family, base.model, torch.device("cpu"), 8192))[-4:] == guided
    stock = make_twin("flux2-klein-4b")
    assert sizes(Rehearsal(stock.family, stock.model, torch.device("cpu"), 8192)) == [
        (1024, 1),
        (512, 1),
        *captions[:2],
        (1024, 1),
    ]


def test_warming_up_tells_how_far_it_is(make_twin: MakeTwin) -> None:
    heard: list[tuple[str, float | None]] = []
    warm_up(rehearsal_of(make_twin()), lambda stage, fraction: heard.append((stage, fraction)))
    assert heard == [("warming up", index / 11) for index in range(12)]


def test_a_pair_that_does_not_fit_is_no_reason_not_to_serve(
    make_twin: MakeTwin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacking(_rehearsal: Rehearsal, requests: Sequence[RenderRequest]) -> None:
        if len(requests) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Rehearsal, "render", lacking)
    rehearsal, most = rehearsal_of(make_twin()), 1
    warm_up(rehearsal, lambda *_: None)
    assert "2 pictures of 128 px do not fit in one pass: CUDA out of memory." in caplog.text
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        warm_up(rehearsal, lambda *_: None)


def test_captions_of_a_masked_rehearsal_differ_in_length(make_twin: MakeTwin) -> None:
    twin = make_twin()
    request = rehearsal_of(twin).masked()
    lengths = [-(-len(caption) // 32) for caption in twin.family.encode(request).all()]
    assert lengths[0] > lengths[1]


@pytest.mark.parametrize("model_id", ["z-image", "sd-turbo", "flux2-klein-4b"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_any_family_is_rehearsed(model_id: str, make_twin: MakeTwin) -> None:
    rehearsal = rehearsal_of(make_twin(model_id))
    for request in (rehearsal.usual(), rehearsal.masked()):
        found = rehearsal.render([request])
        assert found.seconds > 0
        assert found.pictures[0].shape == (request.height, request.width, 3)
        assert found.distance(found) == 0


def test_on_a_cpu_nothing_is_tried(make_twin: MakeTwin) -> None:
    twin = make_twin()
    found = tune(twin.pipeline, rehearsal_of(twin), Wishes(AUTO, False, "default"), "bfloat16", lambda *_: None)
    assert found == Tuning("native", "false", "default", "bfloat16")
    assert found.versions() == {"compiled_blocks": "false", "matmul": "bfloat16"}


def test_the_mode_is_recorded_where_it_works() -> None:
    assert Tuning("native", "true", "reduce-overhead", "int8").versions()["compile_mode"] == "reduce-overhead"
    assert "compile_mode" not in Tuning("native", "failed", "reduce-overhead", "int8").versions()


@pytest.mark.parametrize(("wish", "expected"), [(AUTO, ("native", "true")), ("flash", ("flash", "failed"))])
def test_a_chosen_backend_does_not_cost_the_compiled_blocks(
    wish: str, expected: tuple[str, str], make_twin: MakeTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["failed", "true"])
    monkeypatch.setattr(tuning, "compile_and_try", lambda *_: next(answers))
    monkeypatch.setattr(tuning, "_attention", lambda *_: "flash")
    twin = make_twin()
    found = tune(twin.pipeline, rehearsal_of(twin), Wishes(wish, True, "default"), "bfloat16", lambda *_: None)
    assert (found.attention_backend, found.compiled_blocks) == expected


def test_settings_reach_the_engine(tmp_path: Path) -> None:
    plain = engine_spec(Settings(data_dir=tmp_path), "demo")
    assert (plain.attention_backend, plain.compile_blocks, plain.compile_mode) == ("auto", None, "default")
    named = Settings(data_dir=tmp_path, attention_backend="flash", compile_blocks="off", compile_mode="reduce-overhead")
    found = engine_spec(named, "demo")
    assert (found.attention_backend, found.compile_blocks, found.compile_mode) == ("flash", False, "reduce-overhead")
    assert engine_spec(Settings(data_dir=tmp_path, compile_blocks="on"), "demo").compile_blocks is True
