"""Collects an engine's events and waits for the one that a test is about."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from core.render import RenderRequest
from worker.engine.messages import Canceled, EngineEvent, Ready, Rendered, RequestFailed

E = TypeVar("E", bound=EngineEvent)
TIMEOUT_SECONDS = 200.0
ENDS = (Rendered, Canceled, RequestFailed)


class Recorder:
    """Give it to EngineClient as `on_event`."""

    def __init__(self) -> None:
        self.timeout_seconds = TIMEOUT_SECONDS
        self.events: list[EngineEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: EngineEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, kind: type[E], count: int = 1, matches: Callable[[E], bool] = lambda event: True) -> E:
        """The `count`-th event of that kind that matches; the test fails when it does not come."""

        def found() -> list[E]:
            return [event for event in self.events if isinstance(event, kind) and matches(event)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= count, self.timeout_seconds):
                raise AssertionError(f"no {kind.__name__} no. {count} among {[type(e).__name__ for e in self.events]}")
            return found()[count - 1]

    def wait_ready(self, count: int = 1) -> Ready:
        return self.wait(Ready, count)

    def wait_end(self, request_id: str) -> Rendered | Canceled | RequestFailed:
        """How the request ended."""
        with self._changed:
            ended = self._changed.wait_for(lambda: bool(self.ends(request_id)), self.timeout_seconds)
            assert ended, f"{request_id} did not end; {[type(e).__name__ for e in self.events]}"
            return self.ends(request_id)[0]

    def is_quiet(self, kind: type[EngineEvent], seconds: float) -> bool:
        """Whether no event of that kind comes within that time."""
        with self._changed:
            return not self._changed.wait_for(lambda: any(isinstance(e, kind) for e in self.events), seconds)

    def ends(self, request_id: str) -> list[Rendered | Canceled | RequestFailed]:
        return [event for event in self.events if isinstance(event, ENDS) and event.request_id == request_id]


def a_request(index: int, prompt: str = "a cat", size: int = 64, steps: int = 4, **changes: object) -> RenderRequest:
    """Small and quick; its id is `job/1/<index>`."""
    fields: dict[str, object] = {
        "id": f"job/1/{index}",
        "prompt": prompt,
        "width": size,
        "height": size,
        "num_inference_steps": steps,
        "seed": index,
    }
    return RenderRequest.model_validate(fields | changes)
