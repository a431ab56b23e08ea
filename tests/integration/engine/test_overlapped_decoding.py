"""Images that are decoded in parallel to the steps of others are unchanged."""

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


def test_images_equal_the_stock_pipelines_and_a_failure_affects_no_other(
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


def test_stop_waits_for_running_decodes(models_dir: Path, overlapping: tuple[EngineClient, Recorder]) -> None:
    client, recorder = overlapping
    recorder.events.clear()
    client.submit(a_request(0, size=512, steps=1))
    client.stop(300)
    assert isinstance(recorder.wait_end("job/1/0"), Rendered)


@pytest.fixture
def own(models_dir: Path, tmp_path: Path) -> Iterator[GatedEngine]:
    """Start an engine for a test that ends it."""
    yield from start_gated(models_dir, tmp_path, "TEST_OVERLAPS_DECODE", step_timeout_seconds=8.0)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch, models_dir: Path, tmp_path: Path) -> Iterator[GatedEngine]:
    """Start an engine whose requests are too large to be batched with others."""
    monkeypatch.setenv("TEST_ADMIT_ONE", "1")
    yield from start_gated(models_dir, tmp_path, "TEST_OVERLAPS_DECODE")


def test_an_image_that_is_being_decoded_counts_for_admission(one_at_a_time: GatedEngine) -> None:
    one_at_a_time.submit(0, "decode-gated")
    gate = one_at_a_time.wait_at_gate(0)
    one_at_a_time.submit(1, "too large next to it")
    one_at_a_time.submit(2, "also too large")
    assert one_at_a_time.recorder.is_quiet(Rendered, 0.3)
    assert not one_at_a_time.has_started(1)
    gate.close()
    for index in range(3):
        one_at_a_time.rendered(index)


def test_a_decode_that_hangs_is_noticed_while_others_step(own: GatedEngine) -> None:
    own.submit(0, "slow", steps=10_000)
    own.wait_steps(0, 1)
    own.submit(1, "decode-hang")
    lost = own.recorder.wait(EngineLost)
    assert set(lost.request_ids) == {id_of(0), id_of(1)}
    assert "status 71" in lost.reason
