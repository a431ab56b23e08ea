"""Collect an engine's events and wait for expected ones."""

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
    """Records events; pass it to EngineClient as `on_event`."""

    def __init__(self) -> None:
        self.timeout_seconds = TIMEOUT_SECONDS
        self.events: list[EngineEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: EngineEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, kind: type[E], count: int = 1, matches: Callable[[E], bool] = lambda event: True) -> E:
        """Return the `count`-th matching event of that kind, waiting for it; AssertionError after the timeout."""

        def found() -> list[E]:
            return [event for event in self.events if isinstance(event, kind) and matches(event)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= count, self.timeout_seconds):
                raise AssertionError(f"no {kind.__name__} no. {count} among {[type(e).__name__ for e in self.events]}")
            return found()[count - 1]

    def wait_ready(self, count: int = 1) -> Ready:
        return self.wait(Ready, count)

    def wait_end(self, request_id: str) -> Rendered | Canceled | RequestFailed:
        """Wait for the end of the request and return the event that ended it."""
        with self._changed:
            ended = self._changed.wait_for(lambda: bool(self.ends(request_id)), self.timeout_seconds)
            assert ended, f"{request_id} did not end; {[type(e).__name__ for e in self.events]}"
            return self.ends(request_id)[0]

    def is_quiet(self, kind: type[EngineEvent], seconds: float) -> bool:
        """Return whether no event of that kind arrives within that time."""
        with self._changed:
            return not self._changed.wait_for(lambda: any(isinstance(e, kind) for e in self.events), seconds)

    def ends(self, request_id: str) -> list[Rendered | Canceled | RequestFailed]:
        return [event for event in self.events if isinstance(event, ENDS) and event.request_id == request_id]


def a_request(index: int, prompt: str = "a cat", size: int = 64, steps: int = 4, **changes: object) -> RenderRequest:
    """Return a small request with id `job/1/<index>` and seed `index`."""
    fields: dict[str, object] = {
        "id": f"job/1/{index}",
        "prompt": prompt,
        "width": size,
        "height": size,
        "num_inference_steps": steps,
        "seed": index,
    }
    return RenderRequest.model_validate(fields | changes)
