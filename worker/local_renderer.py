"""Render in an engine started by this process, with the worker's code but without database, Redis or farm."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.catalogue import noise_notice, resolve_auto
from core.catalogue.auto_check import ensure_auto_checked
from core.errors import InvalidInput, RenderError
from core.ids import new_id
from core.parameters import RequestLimits, normalise
from core.schemas.jobs import RenderFields
from core.settings import Settings
from core.storage import LocalImageStore
from db.tables import Job
from worker.engine.client import EngineClient
from worker.engine.messages import EngineEvent, EngineInfo, EngineLost, LoadFailed, Loading, Ready
from worker.engine.spec import spec_from_settings
from worker.runner.attempts import InFlightAttempts, RunningAttempt
from worker.runner.image_guard import ImageGuard
from worker.runner.image_writer import ImageWriter
from worker.runner.rendering import AttemptRendering
from worker.safety_hook import load_safety_hook

STOP_SECONDS = 2.0


@dataclass(frozen=True)
class LocalProgress:
    """Progress of a local render: `fraction` is 0 to 1, or None when it is unknown."""

    stage: str
    fraction: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True)
class LocalRender:
    """Whole PNG files with their metadata. `seconds`: from the first request to the last file, without loading."""

    files: tuple[bytes, ...]
    seconds: float
    warnings: tuple[str, ...]


class LocalRenderer:
    """Hold one loaded model until closed; `on_progress` is called from the engine's thread and from `render`'s.

    `info`: about the loaded model; None before the first render.
    """

    def __init__(self, settings: Settings, on_progress: Callable[[LocalProgress], None]) -> None:
        self._settings = settings
        self._on_progress = on_progress
        ensure_auto_checked(settings, lambda stage: on_progress(LocalProgress(stage)))
        self.model = resolve_auto(settings).model
        self._inflight = InFlightAttempts()
        self._load_ended = threading.Event()
        self._failure: LoadFailed | None = None
        self._engine = EngineClient(spec_from_settings(settings, self.model.id), self._on_event)
        self._guard = ImageGuard(load_safety_hook(settings.safety_hook))
        self._started = False
        self.info: EngineInfo | None = None

    @property
    def notice(self) -> str:
        """The notice to show with its images; empty for real models."""
        return noise_notice(self.model)

    def render(self, request: RenderFields) -> LocalRender:
        """Render all images of the request with this renderer's model, whichever model the request names.

        Raise InvalidParameters, or RenderError with the engine's code.
        """
        for field in ("styles", "dynamic"):
            if getattr(request, field):
                raise InvalidInput(f"{field} needs a farm: start one with `imagefarm up`, or leave it out.", field=field)
        limits = RequestLimits(self._settings.max_prompt_chars, self._settings.max_images_per_job)
        normalised = normalise(request, self.model, limits)
        self._wait_ready()
        job = Job(id=new_id(), attempt=1, model=self.model.id, input=normalised.parameters.stored())
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="imagefarm-") as folder:
            files = self._files(RunningAttempt(job), LocalImageStore(Path(folder)))
        return LocalRender(files, time.monotonic() - started, tuple(normalised.warnings))

    def _files(self, attempt: RunningAttempt, store: LocalImageStore) -> tuple[bytes, ...]:
        """Run the attempt as a worker does."""
        self._inflight.add(attempt)
        try:
            write = ImageWriter(store).write
            images = AttemptRendering(attempt, self._engine, self._settings, self, write, self._guard).run()
        finally:
            self._inflight.remove(attempt)
        return tuple(store.read(image.key) for image in images)

    def close(self) -> None:
        """Stop the engine and free its memory."""
        if self._started:
            self._engine.stop(STOP_SECONDS)

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Pass on the progress that a farm would publish."""
        step, steps = int(progress["step"]), int(progress["steps"])
        self._on_progress(LocalProgress(f"step {step} of {steps}", float(progress["value"]), float(progress["eta_seconds"])))

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """Ignore previews: a local render has no subscribers."""

    def _wait_ready(self) -> None:
        if not self._started:
            self._started = True
            self._engine.start()
        self._load_ended.wait()
        if self._failure is not None:
            raise RenderError(self._failure.message, code=self._failure.code)

    def _on_event(self, event: EngineEvent) -> None:
        match event:
            case Loading():
                self._on_progress(LocalProgress(f"loading {self.model.id}: {event.stage}", event.fraction))
            case Ready():
                self.info = event.info
                self._failure = None
                self._load_ended.set()
            case LoadFailed():
                self._failure = event
                self._load_ended.set()
            case EngineLost():
                self._handle_loss(event)
            case _:
                self._inflight.route(event)

    def _handle_loss(self, event: EngineLost) -> None:
        """Treat a loss during loading as a failed load; the client restarts the engine by itself in any case."""
        if not self._load_ended.is_set():
            self._failure = LoadFailed("engine_lost", f"The engine was lost while it loaded: {event.reason}.")
            self._load_ended.set()
            return
        self._load_ended.clear()
        self._inflight.route(event)
