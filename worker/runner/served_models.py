"""What a worker knows of each of its models: where the weights are, how long they load, and whether to try them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.backoff import backoff_seconds
from db.worker_models import ModelReport, ModelState

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 15.0, 600.0
ASSUMED_SECONDS = 10.0
"""Load seconds of a model of unknown size that was never loaded."""
BYTES_PER_SECOND = 0.5e9
"""Assumed for a first load: a disk's reading speed less the work of placing."""


@dataclass
class _Served:
    assumed_seconds: float
    state: ModelState = "on_disk"
    state_before: ModelState = "on_disk"
    message: str | None = None
    disk_seconds: float | None = None
    memory_seconds: float | None = None
    failures: int = 0
    retry_at: float = 0.0


class ServedModels:
    """Thread-safe. `assumed`: model -> seconds that its first load is assumed to take."""

    def __init__(self, assumed: dict[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._models = {model: _Served(seconds) for model, seconds in assumed.items()}
        self._reported: dict[str, ModelReport] = {}

    @property
    def names(self) -> list[str]:
        return list(self._models)

    def note_loading(self, model: str) -> None:
        """Record that the model is being loaded, or will be as soon as the jobs in flight have ended."""
        with self._lock:
            served = self._models[model]
            if served.state != "loading":
                served.state_before, served.state = served.state, "loading"

    def note_not_loading(self) -> None:
        """Record that an announced load was called off."""
        with self._lock:
            for served in self._models.values():
                if served.state == "loading":
                    served.state = served.state_before

    def note_left(self, model: str) -> None:
        """Record that the loaded model gives way to another one; where its weights stay is known once that is loaded."""
        with self._lock:
            if self._models[model].state == "loaded":
                self._models[model].state = "on_disk"

    def note_loaded(self, model: str, seconds: float, in_host_memory: Sequence[str]) -> None:
        """Record that the model is loaded after `seconds`, and which others the engine keeps in host memory."""
        with self._lock:
            for name, other in self._models.items():
                if name != model and other.state != "unavailable":
                    other.state = "host_memory" if name in in_host_memory else "on_disk"
            served = self._models[model]
            if served.state_before == "host_memory":
                served.memory_seconds = seconds
            else:
                served.disk_seconds = seconds
            served.state, served.message, served.failures = "loaded", None, 0
            served.state_before = "on_disk"

    def note_unloaded(self) -> None:
        """Record that the engine has ended: nothing is in memory."""
        with self._lock:
            for served in self._models.values():
                served.state_before = "on_disk"
                if served.state != "unavailable":
                    served.state = "on_disk"

    def note_released(self, model: str) -> None:
        with self._lock:
            if self._models[model].state == "host_memory":
                self._models[model].state = "on_disk"

    def set_aside(self, model: str, reason: str) -> None:
        """Do not choose the model for a while, longer after each failure in a row."""
        with self._lock:
            served = self._models[model]
            served.failures += 1
            pause = backoff_seconds(served.failures, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
            served.state, served.retry_at = "unavailable", self._clock() + pause
            served.message = f"{reason} It is tried again after {pause:.0f} s."[:2000]

    def retry(self, model: str) -> None:
        """Let a model that was set aside be tried again at once."""
        with self._lock:
            self._models[model].retry_at = 0.0
        self.is_available(model)

    def is_available(self, model: str) -> bool:
        """Return whether the model may be loaded; one that was set aside may be tried again after its pause."""
        with self._lock:
            served = self._models[model]
            if served.state == "unavailable" and self._clock() >= served.retry_at:
                served.state = served.state_before = "on_disk"
            return served.state != "unavailable"

    def load_seconds(self, model: str) -> float:
        """Return how long the model will take to load."""
        with self._lock:
            served = self._models[model]
            if served.state == "host_memory" and served.memory_seconds is not None:
                return served.memory_seconds
            return served.disk_seconds if served.disk_seconds is not None else served.assumed_seconds

    def reports(self) -> dict[str, ModelReport]:
        """Return model -> what to report about it."""
        with self._lock:
            return {
                model: ModelReport(each.state, each.message, each.memory_seconds or each.disk_seconds)
                for model, each in self._models.items()
            }

    def changes(self) -> dict[str, ModelReport]:
        """Return the reports that changed since the last `note_reported`."""
        return {model: report for model, report in self.reports().items() if self._reported.get(model) != report}

    def note_reported(self, reports: dict[str, ModelReport]) -> None:
        self._reported |= reports


def assumed_seconds(gigabytes: float) -> float:
    """Return how long weights of that size are assumed to load the first time."""
    return max(gigabytes * 1e9 / BYTES_PER_SECOND, 1.0) if gigabytes else ASSUMED_SECONDS
