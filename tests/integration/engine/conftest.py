"""Engines and pipelines that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine.recorder import Recorder
from tests.servers.forks import start_engine_fork
from worker.engine.client import EngineClient, StartProcess, spawn
from worker.engine.spec import EngineSpec

FAULTY = "tests.integration.engine.faulty_engine"
StartEngine = Callable[..., tuple[EngineClient, Recorder]]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the engines of all tests build and find `demo`."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the engines that tests start to one core each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def start_engine(models_dir: Path) -> Iterator[StartEngine]:
    """Start engines; those that a test started are stopped after it."""
    clients: list[EngineClient] = []

    def start(**changes: Any) -> tuple[EngineClient, Recorder]:  # noqa: ANN401 - as new_client
        client, recorder = new_client(models_dir, **changes)
        clients.append(client)
        client.start()
        return client, recorder

    yield start
    for client in clients:
        client.stop(0)


@pytest.fixture(scope="module")
def shared_engine(models_dir: Path) -> Iterator[tuple[EngineClient, Recorder]]:
    """Start one faulty engine for all tests of a module that do not stop it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        client, recorder = new_client(models_dir)
        client.start()
    recorder.wait_ready()
    yield client, recorder
    client.stop(5)


@pytest.fixture
def engine(shared_engine: tuple[EngineClient, Recorder]) -> tuple[EngineClient, Recorder]:
    """Return the module's engine, without the events of earlier tests."""
    client, recorder = shared_engine
    recorder.events.clear()
    return client, recorder


def new_client(models: Path, start: StartProcess | None = None, **changes: object) -> tuple[EngineClient, Recorder]:
    """Return a client that is not started; by default the faulty engine is forked, another one spawned as on a farm."""
    fields: dict[str, object] = {
        "model": "demo",
        "device": "cpu",
        "memory_policy": "auto",
        "models_dir": models,
        "capacity": 4,
        "step_timeout_seconds": 5.0,
        "load_timeout_seconds": 200.0,
        "token_budget": 4096,
        "module": FAULTY,
    }
    recorder = Recorder()
    spec = EngineSpec(**(fields | changes))  # type: ignore[arg-type]
    start = start or (start_engine_fork if spec.module == FAULTY else spawn)
    return EngineClient(spec, recorder, start), recorder
