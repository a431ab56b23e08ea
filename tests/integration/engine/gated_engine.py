"""Engines whose requests a test can hold at a chosen point."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.integration.engine.conftest import new_client
from tests.integration.engine.recorder import Recorder, a_request
from worker.engine.client import EngineClient
from worker.engine.messages import Canceled, Rendered, RequestFailed, Started, Step


class GatedEngine:
    """A faulty engine in which requests with a `gated` word in their prompt wait for `open_gate`."""

    def __init__(self, client: EngineClient, recorder: Recorder, gates: Path) -> None:
        self.client, self.recorder, self._gates = client, recorder, gates

    def submit(self, index: int, prompt: str, **changes: object) -> None:
        if "gated" in prompt:
            self._gate(index).unlink(missing_ok=True)
            os.mkfifo(self._gate(index))
        self.client.submit(a_request(index, prompt, **changes))  # type: ignore[arg-type]

    def open_gate(self, index: int) -> None:
        """Wait until that request is at its gate, and let it continue."""
        self.wait_at_gate(index).close()

    def wait_at_gate(self, index: int) -> IO[str]:
        """Wait until that request is at its gate; it continues once the returned file is closed."""
        return self._gate(index).open("w")

    def _gate(self, index: int) -> Path:
        return self._gates / id_of(index).replace("/", "-")

    def wait_steps(self, index: int, more: int) -> None:
        """Wait until that request has taken `more` further steps."""
        steps = [
            event.step for event in self.recorder.events if isinstance(event, Step) and event.request_id == id_of(index)
        ]
        goal = max(steps, default=0) + more
        self.recorder.wait(Step, matches=lambda step: step.request_id == id_of(index) and step.step >= goal)

    def rendered(self, index: int) -> Rendered:
        ended = self.recorder.wait_end(id_of(index))
        assert isinstance(ended, Rendered), ended
        return ended

    def failed(self, index: int) -> RequestFailed:
        ended = self.recorder.wait_end(id_of(index))
        assert isinstance(ended, RequestFailed), ended
        return ended

    def canceled(self, index: int) -> None:
        """Cancel a request, and wait for its end."""
        self.client.cancel(id_of(index))
        ended = self.recorder.wait_end(id_of(index))
        assert isinstance(ended, Canceled), ended

    def has_started(self, index: int) -> bool:
        return Started(id_of(index)) in self.recorder.events


def id_of(index: int) -> str:
    return f"job/1/{index}"


def start_gated(models_dir: Path, gates: Path, overlaps: str, **changes: object) -> Iterator[GatedEngine]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ((overlaps, "1"), ("TEST_GATES", str(gates)), ("OMP_NUM_THREADS", "1")):
            patch.setenv(name, value)
        client, recorder = new_client(models_dir, None, **{"step_timeout_seconds": 300.0} | changes)
        client.start()
        recorder.wait_ready()
    yield GatedEngine(client, recorder, gates)
    client.stop(0)
