"""The switch of a worker with several models reads the engine's state on its own thread, before it is told of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from core.catalogue import served_models
from core.settings import Settings
from db import workers
from db.database import Database
from db.jobs.submit import NewJob, submit
from tests.conftest import Migrate
from worker.engine.messages import EngineInfo
from worker.engine.spec import EngineSpec
from worker.runner.attempts import ClaimGate, InFlightAttempts
from worker.runner.context import WorkerContext
from worker.runner.model_switch import ModelSwitch
from worker.runner.worker_state import WorkerIdentity, WorkerState

MODELS = ("demo", "sd-turbo")


class ReadyEngine:
    """An engine that is always ready, and notes which models it is told to load."""

    state = "ready"

    def __init__(self) -> None:
        self.loads: list[str] = []

    def switch(self, spec: EngineSpec) -> None:
        self.loads.append(spec.model)


def info(model: str) -> EngineInfo:
    return EngineInfo(
        model=model,
        family="synthetic",
        device="cpu",
        device_name="none",
        dtype="uint8",
        memory_policy="none",
        capacity=1,
        token_budget=0,
        attention_backend="none",
        load_seconds=0.0,
        process_id=0,
    )


def test_a_model_is_not_loaded_again_before_its_first_load_was_reported(
    fresh_sqlite: str, migrate: Migrate, tmp_path: Path
) -> None:
    migrate(fresh_sqlite)
    database, identity, engine = Database(fresh_sqlite), WorkerIdentity("w1"), ReadyEngine()
    settings = Settings(_env_file=None, data_dir=tmp_path, model=",".join(MODELS), renderer="synthetic")
    workers.register(database, workers.Registration(identity.name, identity.incarnation, "demo", "cpu", 1, MODELS))
    workers.heartbeat(database, identity.name, identity.incarnation, state="ready")
    fakes = dict[str, Any](engine=engine, events=Mock(), flower=Mock())
    context = WorkerContext(
        settings=settings,
        database=database,
        identity=identity,
        model="demo",
        state=WorkerState(),
        attempts=InFlightAttempts(),
        **fakes,
    )
    switch = ModelSwitch(context, served_models(settings), ClaimGate(), lambda: None, lambda: True)
    submit(database, NewJob(owner="ann", model="sd-turbo", prompt="a cat", input={"prompt": "a cat"}))
    switch._check()
    assert engine.loads == [], "the model that the ready engine has may be the wanted one"
    switch.on_ready(info("sd-turbo"))
    switch._check()
    assert engine.loads == []
    switch.on_ready(info("demo"))
    deadline = time.monotonic() + 300
    while not engine.loads:  # A model that was just loaded stays for as long as the other one takes to load.
        assert time.monotonic() < deadline
        switch._check()
    assert engine.loads == ["sd-turbo"]
    database.dispose()
