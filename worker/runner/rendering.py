"""One attempt's time in the engine: requests go in, mail comes back, finished images are stored while others step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.errors import InvalidInput, RenderError
from core.render import RenderRequest
from core.settings import Settings
from db.jobs.succeed import StoredImage
from worker.engine.client import EngineClient
from worker.engine.events import Canceled, EngineLost, Preview, Rendered, RequestFailed, Step
from worker.init_image import fitted
from worker.runner.attempt import CancelRequested, Drained, LeaseLost, Mail, RunningAttempt, index_of
from worker.runner.requests import render_requests

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.1
"""No more than one progress message of a job in this time, the last step excepted."""


class News(Protocol):
    """Who hears of an attempt's progress."""

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """`step` of `steps` over all images, `value` (0..1), `seconds_per_step`, `eta_seconds`, `attempt`."""

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """A small JPEG or PNG of an unfinished image."""


class Stopped(Exception):
    """The attempt ends without images: canceled, drained, or its lease is lost; `why` is the mail that said so."""

    def __init__(self, why: Mail) -> None:
        super().__init__(type(why).__name__)
        self.why = why


@dataclass
class Rendering:
    """Renders all images of one attempt. Raises RenderError or Stopped; the engine holds nothing of it afterwards."""

    attempt: RunningAttempt
    engine: EngineClient
    settings: Settings
    news: News
    store: Callable[[RunningAttempt, RenderRequest, Rendered], StoredImage]
    images: list[StoredImage] = field(default_factory=list)
    storing_seconds: float = 0.0
    _open: dict[str, RenderRequest] = field(default_factory=dict)
    _progress_at: float = 0.0
    _latest: dict[str, Step] = field(default_factory=dict)

    def run(self, init_image: bytes | None = None) -> list[StoredImage]:
        """The stored images, in order of index; `init_image` is an encoded picture for image-to-image."""
        requests = render_requests(self.attempt, self.settings)
        if init_image:
            init_image = _fitted(init_image, requests[0])
        try:
            for request in requests:
                self._submit(request, init_image)
            while self._open:
                self._read(self.attempt.mail.get())
        finally:
            for request_id in list(self._open):
                self.engine.cancel(request_id)
        return sorted(self.images, key=lambda image: image.index)

    def _submit(self, request: RenderRequest, init_image: bytes | None) -> None:
        try:
            self.engine.submit(request, init_image)
        except RenderError as error:
            began = bool(self._open or self.images)
            raise RenderError(error.message, code=error.code if began else "engine_away") from error
        self._open[request.id] = request

    def _read(self, mail: Mail) -> None:
        match mail:
            case Step():
                self._progress(mail)
            case Preview():
                self.news.preview(self.attempt.job.id, index_of(mail.request_id), mail.image)
            case Rendered():
                self._store(mail)
            case RequestFailed():
                self._open.pop(mail.request_id, None)
                raise RenderError(mail.message, code=mail.code)
            case EngineLost():
                self._open.clear()
                raise RenderError(f"The engine was lost: {mail.reason}.", code="engine_lost")
            case LeaseLost() | CancelRequested() | Drained() | Canceled():
                raise Stopped(mail)
            case _:
                pass

    def _store(self, rendered: Rendered) -> None:
        request = self._open.pop(rendered.request_id)
        began = time.monotonic()
        self.images.append(self.store(self.attempt, request, rendered))
        self.storing_seconds += time.monotonic() - began

    def _progress(self, step: Step) -> None:
        self._latest[step.request_id] = step
        last = step.step == step.steps
        if not last and time.monotonic() - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = time.monotonic()
        images = int(self.attempt.job.input.get("num_images", 1))
        whole, total = sum(each.step for each in self._latest.values()), step.steps * images
        done = whole + sum(each.part for each in self._latest.values())
        # Images of one job that have begun step together; a step of one takes as long as a step of all.
        together = max(len(self._open.keys() & self._latest.keys()), 1)
        self.news.progress(
            self.attempt.job.id,
            {
                "attempt": self.attempt.job.attempt,
                "step": whole,
                "steps": total,
                "value": round(min(done / total, 1.0), 4),
                "seconds_per_step": round(step.seconds_per_step, 4),
                "eta_seconds": round((total - done) * step.seconds_per_step / together, 3),
            },
        )


def _fitted(init_image: bytes, request: RenderRequest) -> bytes:
    """All images of a job have one size."""
    try:
        return fitted(init_image, request.width, request.height)
    except InvalidInput as error:
        raise RenderError(error.message, code=error.code) from error
