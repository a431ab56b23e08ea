"""Celery's thread pool, and what wakes Celery's event loop, which sleeps until something happens."""

from __future__ import annotations

from typing import Any

from celery.concurrency.thread import TaskPool


class WakingPool(TaskPool):  # type: ignore[misc]
    """Wakes the event loop when a thread has become free, so that it waits for the next hint at once."""

    _loop: Any = None

    def register_with_event_loop(self, loop: Any) -> None:  # noqa: ANN401 -- kombu's own
        """Note the loop that takes messages."""
        self._loop = loop

    def on_apply(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- Celery's own
        """Run a task on a thread."""
        result = super().on_apply(*arguments, **options)
        result.f.add_done_callback(lambda _: self._wake())
        return result

    def _wake(self) -> None:
        if self._loop is not None:
            wake(self._loop)


def wake(loop: Any) -> None:  # noqa: ANN401 -- kombu's own
    """Let Celery's event loop look at once whether it must stop, and whether it may take a message. Thread-safe."""
    loop.call_soon(_nothing)


def _nothing() -> None:
    """Run on the loop, which looks again before each wait."""
