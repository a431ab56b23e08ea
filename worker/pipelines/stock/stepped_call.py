"""Run a long call step by step: it blocks at each checkpoint until resumed."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class CallAborted(BaseException):
    """Raised inside the call when its result is no longer needed."""


class SteppedCall(Generic[T]):
    """Runs the call on its own thread, but never concurrently with the thread that resumes it."""

    def __init__(self, call: Callable[[Callable[[], None]], T]) -> None:
        """Store the call; `call` receives a function to call at its checkpoints."""
        self._call = call
        self._resumed = threading.Semaphore(0)
        self._paused = threading.Semaphore(0)
        # In the caller's context, which holds the options that its thread has set for torch's compiler.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="stock-pipeline", daemon=True)
        self._aborted = False
        self._error: BaseException | None = None
        self._result: T | None = None
        self.finished = False

    def resume(self) -> None:
        """Run to the next checkpoint or to the end; raise the call's error, now and on every later resume."""
        if not self.finished:
            if self._thread.ident is None:
                self._thread.start()
            self._resumed.release()
            self._paused.acquire()
        if self._error is not None:
            raise self._error

    def result(self) -> T:
        """Run to the end, past all remaining checkpoints, and return the result."""
        while not self.finished:
            self.resume()
        self.resume()
        return self._result  # type: ignore[return-value]

    def close(self) -> bool:
        """Raise CallAborted at the current checkpoint; return whether the call failed or was aborted before its end."""
        self._aborted = True
        if self._thread.ident is not None and not self.finished:
            self._resumed.release()
            self._paused.acquire()
        self.finished = True
        return self._error is not None

    def _run(self) -> None:
        self._resumed.acquire()
        try:
            self._result = self._call(self._checkpoint)
        except CallAborted as error:
            self._error = error.with_traceback(None)  # Its frames hold this object, and tensors until both are collected.
        except BaseException as error:  # noqa: BLE001 - resume() raises it where it can be handled
            self._error = error
        self.finished = True
        self._paused.release()

    def _checkpoint(self) -> None:
        self._paused.release()
        self._resumed.acquire()
        if self._aborted:
            raise CallAborted
