"""Prompts that are encoded in parallel to the steps of others delay no step, and images are unchanged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.render import LoraRequest
from tests.integration.engine.gated_engine import GatedEngine, id_of, start_gated
from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel, tiny_model
from worker.engine.messages import Canceled, EngineLost, Rendered, Started
from worker.models.tiny_models.build import build_lora


@pytest.fixture(scope="module")
def shared(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedEngine]:
    yield from start_gated(models_dir, tmp_path_factory.mktemp("gates"), "TEST_OVERLAPS_ENCODE")


@pytest.fixture
def overlapped(shared: GatedEngine) -> GatedEngine:
    shared.recorder.events.clear()
    return shared


@pytest.fixture
def own(models_dir: Path, tmp_path: Path) -> Iterator[GatedEngine]:
    """Start an engine for a test that ends it."""
    yield from start_gated(models_dir, tmp_path, "TEST_OVERLAPS_ENCODE", step_timeout_seconds=20.0)


@pytest.fixture
def demo(models_dir: Path) -> TinyModel:
    torch.set_num_threads(1)
    return tiny_model("demo", models_dir)


def test_steps_continue_while_a_prompt_is_encoded(overlapped: GatedEngine, models_dir: Path) -> None:
    overlapped.submit(0, "slow one", steps=10_000, strict=True)
    overlapped.wait_steps(0, 1)
    overlapped.submit(1, "gated one", strict=True, guidance_scale=2.0, negative_prompt="gated not")
    overlapped.wait_steps(0, 5)
    assert not overlapped.has_started(1)
    overlapped.open_gate(1)
    ended = overlapped.rendered(1)
    overlapped.canceled(0)
    torch.set_num_threads(1)
    stock = TinyModel("demo", models_dir, "float32")
    request = a_request(1, "gated one", strict=True, guidance_scale=2.0, negative_prompt="gated not")
    assert ended.pixels == stock.expected(request, "pil").tobytes()


def test_a_cached_prompt_overtakes_one_that_is_being_encoded(overlapped: GatedEngine) -> None:
    overlapped.submit(0, "cached")
    overlapped.rendered(0)
    overlapped.submit(1, "gated two")
    overlapped.submit(2, "cached")
    overlapped.rendered(2)
    assert not overlapped.has_started(1)
    overlapped.open_gate(1)
    overlapped.rendered(1)


def test_encoded_requests_join_in_order_of_arrival(overlapped: GatedEngine) -> None:
    for index, prompt in enumerate(("gated first", "second", "third")):
        overlapped.submit(index, prompt)
    overlapped.open_gate(0)
    for index in range(3):
        overlapped.rendered(index)
    assert [event.request_id for event in overlapped.recorder.events if isinstance(event, Started)] == [
        id_of(i) for i in range(3)
    ]


def test_requests_being_encoded_count_against_the_capacity(overlapped: GatedEngine) -> None:
    overlapped.submit(0, "slow four", steps=10_000)
    overlapped.wait_steps(0, 1)
    for index in range(1, overlapped.client.spec.capacity):
        overlapped.submit(index, f"gated no. {index}")
    overlapped.submit(9, "slow four")
    overlapped.wait_steps(0, 5)
    assert not overlapped.has_started(9)
    for index in range(1, overlapped.client.spec.capacity):
        overlapped.open_gate(index)
    assert isinstance(overlapped.rendered(9), Rendered)
    for index in range(1, overlapped.client.spec.capacity):
        overlapped.rendered(index)
    overlapped.canceled(0)


def test_cancel_during_encoding_takes_effect_at_once(overlapped: GatedEngine) -> None:
    overlapped.submit(0, "gated three")
    gate = overlapped.wait_at_gate(0)
    overlapped.submit(1, "behind it")
    for index in (0, 1):
        overlapped.client.cancel(id_of(index))
        assert isinstance(overlapped.recorder.wait_end(id_of(index)), Canceled)
    gate.close()
    overlapped.submit(2, "after them")
    overlapped.rendered(2)
    assert not overlapped.has_started(0)
    assert not overlapped.has_started(1)


def test_an_error_during_encoding_affects_no_other_request(overlapped: GatedEngine) -> None:
    overlapped.submit(0, "slow five", steps=20)
    overlapped.submit(1, "encode-crash")
    failed = overlapped.failed(1)
    assert failed.code == "render_failed"
    assert "planted" in failed.message
    overlapped.rendered(0)


def test_adapters_are_not_switched_while_a_prompt_is_encoded(
    overlapped: GatedEngine, demo: TinyModel, models_dir: Path
) -> None:
    loras = models_dir / "demo" / "loras"
    loras.mkdir(exist_ok=True)
    build_lora(demo.stock, loras / "ink", 0).rename(loras / "ink.safetensors")
    with_ink = {"loras": (LoraRequest(name="ink"),)}
    overlapped.submit(0, "where")
    assert "encoded by encoder" in overlapped.failed(0).message
    overlapped.submit(1, "slow six", steps=10_000)
    overlapped.submit(2, "gated six")
    overlapped.submit(3, "slow with ink", steps=10_000, **with_ink)
    overlapped.wait_steps(1, 5)
    assert not overlapped.has_started(3)
    overlapped.open_gate(2)
    overlapped.rendered(2)
    overlapped.canceled(1)
    overlapped.wait_steps(3, 1)
    overlapped.submit(4, "where")
    assert "encoded by MainThread" in overlapped.failed(4).message
    overlapped.canceled(3)


def test_stop_waits_for_running_encodes(own: GatedEngine) -> None:
    own.submit(0, "gated")
    stopping = threading.Thread(target=own.client.stop, args=[300])
    stopping.start()
    assert own.client._stopping.wait(120)
    own.open_gate(0)
    own.rendered(0)
    stopping.join()
    assert not [event for event in own.recorder.events if isinstance(event, EngineLost)]


def test_stop_does_not_wait_for_a_canceled_encode(own: GatedEngine) -> None:
    own.submit(0, "gated")
    gate = own.wait_at_gate(0)
    own.client.cancel(id_of(0))
    own.client.stop(60)
    gate.close()
    assert own.recorder.events[-1] == Canceled(id_of(0))


def test_an_encode_that_hangs_is_noticed_while_others_step(own: GatedEngine) -> None:
    own.submit(0, "heavy", steps=10_000)
    own.wait_steps(0, 1)
    own.submit(1, "encode-hang")
    lost = own.recorder.wait(EngineLost)
    assert set(lost.request_ids) == {id_of(0), id_of(1)}
    assert "status 71" in lost.reason


def test_consecutive_encodes_are_not_taken_for_a_hang(own: GatedEngine) -> None:
    """The first is canceled: only a heartbeat reports its end."""
    own.submit(0, "gated one")
    gate = own.wait_at_gate(0)
    own.client.cancel(id_of(0))
    own.recorder.wait_end(id_of(0))
    own.submit(1, "gated two")
    for following in (1, None):
        assert own.recorder.is_quiet(EngineLost, own.client.spec.step_timeout_seconds * 0.55)
        gate.close()
        gate = own.wait_at_gate(following) if following is not None else gate
    own.rendered(1)
