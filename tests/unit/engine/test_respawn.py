"""The engine client keeps respawning an engine that fails to start."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import NoReturn

import pytest

from core.settings import Settings
from worker.engine import client as module
from worker.engine.client import EngineClient
from worker.engine.spec import spec_from_settings


def test_an_engine_that_failed_thousands_of_times_is_still_respawned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts: list[object] = []

    def fail(name: str, fd: int, environment: dict[str, str]) -> NoReturn:
        starts.append(name)
        raise OSError("no process")

    monkeypatch.setattr(module, "MAX_BACKOFF_SECONDS", 0.01)
    logging.getLogger("worker.engine.client").disabled = True
    client = EngineClient(spec_from_settings(Settings(data_dir=tmp_path), "demo"), lambda event: None, fail)
    client._failures = 1_100
    client.start()
    deadline = time.monotonic() + 120
    while len(starts) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    alive = client._thread.is_alive()
    client.stop(0)
    logging.getLogger("worker.engine.client").disabled = False
    assert alive and len(starts) >= 3
