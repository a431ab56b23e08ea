"""One engine process renders with one model after another, and keeps the former ones in host memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.integration.engine.conftest import StartEngine
from tests.integration.engine.recorder import Recorder, a_request
from tests.servers.forks import start_engine_fork
from worker.engine.client import EngineClient
from worker.engine.kept_models import KeptModels
from worker.engine.messages import EngineLost, LoadFailed, Rendered, Unloaded
from worker.engine.parts import EngineParts
from worker.models.tiny_models import build_tiny_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"sd-turbo": build_tiny_model("sd-turbo", tmp_path_factory.mktemp("weights") / "sd-turbo")}


def change(client: EngineClient, recorder: Recorder, model: str, ready: int) -> list[str]:
    client.switch(dataclasses.replace(client.spec, model=model))
    info = recorder.wait_ready(ready).info
    assert info.model == model
    return info.in_host_memory


def image(client: EngineClient, recorder: Recorder, index: int) -> bytes:
    client.submit(a_request(7, prompt="a cat", steps=2).model_copy(update={"id": f"job/1/{index}"}))
    ended = recorder.wait_end(f"job/1/{index}")
    assert isinstance(ended, Rendered), ended
    return ended.pixels


def test_models_take_turns_and_render_as_before(start_engine: StartEngine, folders: dict[str, Path]) -> None:
    client, recorder = start_engine(start=start_engine_fork, module="worker.engine", model_folders=folders)
    first = recorder.wait_ready().info
    demo = image(client, recorder, 1)
    assert change(client, recorder, "sd-turbo", 2) == ["demo"]
    other = image(client, recorder, 2)
    assert other != demo
    assert change(client, recorder, "demo", 3) == ["sd-turbo"]
    assert image(client, recorder, 3) == demo
    assert change(client, recorder, "sd-turbo", 4) == ["demo"]
    assert image(client, recorder, 4) == other
    assert client.info is not None and client.info.process_id == first.process_id

    # A model without weights says what is missing; the process goes on with the others, which it kept.
    client.switch(dataclasses.replace(client.spec, model="z-image-turbo"))
    failed = recorder.wait(LoadFailed)
    assert failed.code == "model_unavailable" and "models pull z-image-turbo" in failed.message
    assert change(client, recorder, "demo", 5) == ["sd-turbo"]
    assert image(client, recorder, 5) == demo
    client.release("sd-turbo")
    assert change(client, recorder, "demo", 6) == []

    # Unloaded, nothing of it is left; the next model gets a process of its own.
    client.unload()
    recorder.wait(Unloaded)
    client.switch(client.spec)
    assert recorder.wait_ready(7).info.process_id != first.process_id
    assert image(client, recorder, 6) == demo
    assert not [event for event in recorder.events if isinstance(event, EngineLost)]


def some_parts(start: EngineParts, model: str, device: str) -> EngineParts:
    module = torch.nn.Linear(4, 4, device=device)
    return dataclasses.replace(start, info=dataclasses.replace(start.info, model=model), modules=(module,))


def test_the_oldest_model_gives_way_when_host_memory_is_short(parts: EngineParts) -> None:
    free = [10**12]
    kept = KeptModels(lambda: free[0])
    for model in ("a", "b"):
        kept.keep(some_parts(parts, model, "cpu"))
    assert kept.names() == ["a", "b"] and kept.held_bytes() == 160
    free[0] = 0
    kept.keep(some_parts(parts, "c", "cpu"))
    assert kept.names() == [], "neither it nor the others fit"
    free[0] = 10**12
    kept.keep(dataclasses.replace(some_parts(parts, "d", "cpu"), modules=()))
    assert kept.take("d") is None, "without modules it cannot be moved"


@pytest.fixture
def parts() -> EngineParts:
    from unittest.mock import Mock

    from worker.engine.messages import EngineInfo

    info = EngineInfo("a", "f", "cpu", "cpu", "float32", "none", 1, 1, "native", 0.0, 1)
    return EngineParts(
        Mock(), info, Mock(), torch.device("cpu"), overlaps_decode=False, overlaps_encode=False, peaks=None, blocks=[],
        aborts_steps=False,
    )  # fmt: skip
