"""Pictures that are decoded beside the steps of others are the same pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.integration.engine.conftest import new_client
from tests.integration.engine.gated_engine import GatedEngine, id_of, start_gated
from tests.integration.engine.recorder import Recorder, a_request
from tests.integration.engine.tiny_models import TinyModel
from worker.engine.client import EngineClient
from worker.engine.messages import EngineLost, Rendered, RequestFailed


@pytest.fixture(scope="module")
def overlapping(models_dir: Path) -> Iterator[tuple[EngineClient, Recorder]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_OVERLAPS_DECODE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        client, recorder = new_client(models_dir)
        client.start()
        recorder.wait_ready()
    yield client, recorder
    client.stop(5)


def test_pictures_are_the_stock_pipelines_and_failures_stay_alone(
    overlapping: tuple[EngineClient, Recorder], models_dir: Path
) -> None:
    client, recorder = overlapping
    torch.set_num_threads(1)
    tiny_model = TinyModel("demo", models_dir, "float32")
    requests = [a_request(index, "slow", 128, 2 + index, strict=True) for index in range(4)]
    for request in requests:
        client.submit(request)
    client.submit(a_request(9, "nan"))
    for request in requests:
        ended = recorder.wait_end(request.id)
        assert isinstance(ended, Rendered)
        assert ended.pixels == tiny_model.expected(request, "pil").tobytes()
    failed = recorder.wait_end("job/1/9")
    assert isinstance(failed, RequestFailed)
    assert failed.code == "non_finite_latents"


def test_stop_waits_for_what_is_being_decoded(models_dir: Path, overlapping: tuple[EngineClient, Recorder]) -> None:
    client, recorder = overlapping
    recorder.events.clear()
    client.submit(a_request(0, size=512, steps=1))
    client.stop(60)
    assert isinstance(recorder.wait_end("job/1/0"), Rendered)


@pytest.fixture
def own(models_dir: Path, tmp_path: Path) -> Iterator[GatedEngine]:
    """For a test that ends its engine."""
    yield from start_gated(models_dir, tmp_path, "TEST_OVERLAPS_DECODE", step_timeout_seconds=2.0)


@pytest.fixture
def lonely(monkeypatch: pytest.MonkeyPatch, models_dir: Path, tmp_path: Path) -> Iterator[GatedEngine]:
    """Its requests are too large for company."""
    monkeypatch.setenv("TEST_NO_COMPANY", "1")
    yield from start_gated(models_dir, tmp_path, "TEST_OVERLAPS_DECODE")


def test_a_picture_that_is_being_decoded_is_company_too(lonely: GatedEngine) -> None:
    lonely.submit(0, "decode-gated")
    gate = lonely.wait_at_gate(0)
    lonely.submit(1, "too large beside it")
    lonely.submit(2, "nor this")
    assert lonely.recorder.is_quiet(Rendered, 0.3)
    assert not lonely.has_started(1)
    gate.close()
    for index in range(3):
        lonely.rendered(index)


def test_a_decode_that_hangs_is_noticed_while_others_step(own: GatedEngine) -> None:
    own.submit(0, "slow", steps=10_000)
    own.wait_steps(0, 1)
    own.submit(1, "decode-hang")
    lost = own.recorder.wait(EngineLost)
    assert set(lost.request_ids) == {id_of(0), id_of(1)}
    assert "status 71" in lost.reason
