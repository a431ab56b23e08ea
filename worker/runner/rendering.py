"""Render one attempt in the engine and store its images while others step."""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from core.catalogue import catalogue_of
from core.catalogue.upscalers import LANCZOS
from core.errors import InvalidInput, NotFound, RenderError, Unavailable
from core.lifecycle import JobKind
from core.parameters.seeds import input_of_image
from core.render import RenderRequest
from core.settings import Settings
from core.storage import ImageStore
from db.jobs.succeed import StoredImage
from db.tables import Job
from worker.engine.client import EngineClient
from worker.engine.messages import Canceled, EngineLost, Preview, Rendered, RequestFailed, Step
from worker.init_image import open_reference, resize_init_image, unpack_reference
from worker.mask import KeptPixels, resize_mask
from worker.runner.attempts import (
    AttemptMessage,
    CancelRequested,
    Drained,
    LeaseLost,
    RunningAttempt,
    StorageBack,
    image_index_of,
)
from worker.runner.image_guard import ImageGuard, is_black
from worker.runner.upscales import (
    SourceReader,
    clear_earlier_attempts,
    clear_spool,
    upscale_request,
)

_ENGINE_FIELDS = frozenset(RenderRequest.model_fields) - {"id", "has_init_image", "has_mask", "preview_every", "upscale"}


def render_requests(attempt: RunningAttempt, settings: Settings) -> list[RenderRequest]:
    """Return one request per image, with its own seeds. Input fields unknown to the engine are left out."""
    if attempt.job.kind == JobKind.UPSCALE:
        return [upscale_request(attempt, settings)]
    given = attempt.job.input
    return [
        RenderRequest(
            id=attempt.request_id(index),
            has_init_image=bool(given.get("init_image")),
            has_mask=bool(given.get("mask")),
            # A preview would show what the hook has not seen.
            preview_every=0 if settings.safety_hook else settings.preview_every,
            **{name: value for name, value in input_of_image(given, index).items() if name in _ENGINE_FIELDS},
        )
        for index in range(int(given.get("num_images", 1)))
    ]


@dataclass(frozen=True)
class StartImages:
    """The encoded images that a job starts from; empty for those that it does not name."""

    init_image: bytes = b""
    mask: bytes = b""


TEXT_TO_IMAGE = StartImages()


class StartImageReader:
    """Read the uploads and images that a job starts from; their keys were chosen by the API, never by a user."""

    def __init__(self, uploads: ImageStore, images: ImageStore) -> None:
        self._uploads = uploads
        self._images = images
        self._sources = SourceReader(images, uploads)

    def read_for(self, job: Job) -> StartImages:
        """Return the encoded images. Raises RenderError when one cannot be read."""
        if job.kind == JobKind.UPSCALE:
            return StartImages(self._sources.read_for(job))
        return StartImages(self._read(job.input.get("init_image")), self._read(job.input.get("mask")))

    def _read(self, given: dict[str, Any] | None) -> bytes:
        if not given:
            return b""
        image_id = given.get("image_id")
        store = self._images if image_id else self._uploads
        try:
            return store.read(given["key"])
        except NotFound as error:
            if not store.is_there():
                which = "images" if image_id else "uploads"
                raise RenderError(f"The store of {which} is not there.", code="storage_unavailable") from error
            if image_id:
                raise RenderError(
                    f"The image {image_id} that this job starts from was deleted before it was rendered.", code="parent_gone"
                ) from error
            raise RenderError(
                "The uploaded image that this job starts from no longer exists.", code="invalid_input"
            ) from error
        except Unavailable as error:
            raise RenderError(error.message, code="storage_unavailable") from error


logger = logging.getLogger(__name__)

HOLD_SECONDS = 120.0
"""Time that a finished image waits for the store; then its job goes back to the queue, for a worker with another store."""
PROGRESS_SECONDS = 0.1
"""Minimum interval between two progress messages of a job; the last step is always reported."""


class ProgressListener(Protocol):
    """Receives the progress and previews of an attempt."""

    def progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Take `step` of `steps` over all images, `value` (0..1), `seconds_per_step`, `eta_seconds` and `attempt`."""

    def preview(self, job_id: str, index: int, image: bytes) -> None:
        """Take a small JPEG or PNG of an unfinished image."""


class AttemptStopped(Exception):
    """The attempt ends without images: canceled, drained or without its lease, according to the message `reason`."""

    def __init__(self, reason: AttemptMessage) -> None:
        super().__init__(type(reason).__name__)
        self.reason = reason


@dataclass
class AttemptRendering:
    """Render all images of one attempt; afterwards the engine holds no request of it."""

    attempt: RunningAttempt
    engine: EngineClient
    settings: Settings
    listener: ProgressListener
    store: Callable[[RunningAttempt, RenderRequest, Rendered], StoredImage]
    guard: ImageGuard = field(default_factory=ImageGuard)
    on_storage_lost: Callable[[str], object] | None = None
    """Called with the reason when the store did not take an image; StorageBack must follow once it does again."""
    on_submitted: Callable[[], object] = lambda: None
    """Called once the engine has all requests: what nobody's image waits for belongs here."""
    images: list[StoredImage] = field(default_factory=list)
    storing_seconds: float = 0.0
    _kept: KeptPixels | None = None
    _may_be_black: bool = False
    _pending: dict[str, RenderRequest] = field(default_factory=dict)
    _progress_at: float = 0.0
    _latest: dict[str, Step] = field(default_factory=dict)
    _postponed: deque[AttemptMessage] = field(default_factory=deque)

    def run(self, start: StartImages = TEXT_TO_IMAGE) -> list[StoredImage]:
        """Return the stored images in order of index. Raises RenderError or AttemptStopped."""
        requests = render_requests(self.attempt, self.settings)
        if self.attempt.job.kind == JobKind.UPSCALE:
            clear_earlier_attempts(self.attempt, self.settings)
        if requests[0].upscale is None:
            start = self._fit_to_request(start, requests[0])
        self.attempt.on_step = self._progress
        try:
            for request in requests:
                self._submit(request, start)
            self.on_submitted()
            while self._pending:
                self._handle(self._postponed.popleft() if self._postponed else self.attempt.messages.get())
        finally:
            for request_id in list(self._pending):
                self.engine.cancel(request_id)
            for request in requests:
                if request.upscale is not None:
                    clear_spool(request.upscale)
        return sorted(self.images, key=lambda image: image.index)

    def _fit_to_request(self, start: StartImages, request: RenderRequest) -> StartImages:
        """Decode and resize on this thread rather than on the engine's; all images of a job have one size."""
        width, height = request.width, request.height
        try:
            if not start.init_image:
                return start
            if self._edits_images or request.upscaler not in (None, LANCZOS):
                return self._noting_black(unpack_reference(start.init_image))
            image = self._noting_black(resize_init_image(start.init_image, width, height)).init_image
            if not start.mask:
                return StartImages(image)
            mask = resize_mask(start.mask, width, height)
            feather = int(self.attempt.job.input.get("mask_feather") or 0)
            self._kept = KeptPixels.of(image, mask, width, height, feather)
            return StartImages(image, mask)
        except InvalidInput as error:
            raise RenderError(error.message, code=error.code) from error

    def _noting_black(self, packed: bytes) -> StartImages:
        """Note whether the start image (uncompressed) is black, so that its result may be, too."""
        self._may_be_black = is_black(open_reference(packed))
        return StartImages(packed)

    @property
    def _edits_images(self) -> bool:
        return catalogue_of(self.settings).get(self.attempt.job.model).img2img == "edit"

    def _submit(self, request: RenderRequest, start: StartImages) -> None:
        try:
            self.engine.submit(request, start.init_image, start.mask)
        except RenderError as error:
            is_partly_submitted = bool(self._pending or self.images)
            raise RenderError(error.message, code=error.code if is_partly_submitted else "engine_away") from error
        self._pending[request.id] = request

    def _handle(self, message: AttemptMessage) -> None:
        match message:
            case Preview():
                self.listener.preview(self.attempt.job.id, image_index_of(message.request_id), message.image)
            case Rendered():
                self._store(message)
            case RequestFailed():
                self._pending.pop(message.request_id, None)
                raise RenderError(message.message, code=message.code)
            case EngineLost():
                self._pending.clear()
                raise RenderError(f"The engine was lost: {message.reason}.", code="engine_lost")
            case LeaseLost() | CancelRequested() | Drained() | Canceled():
                raise AttemptStopped(message)
            case _:
                pass

    def _store(self, rendered: Rendered) -> None:
        request = self._pending.pop(rendered.request_id)
        started = time.monotonic()
        if self._kept is not None:
            rendered = replace(rendered, pixels=self._kept.paste_into(rendered.pixels))
        if request.upscale is None:  # An enlarged image is in a file, and nothing new is in it.
            rendered = self.guard.check(self.attempt, request, rendered, may_be_black=self._may_be_black)
        while True:
            try:
                self.images.append(self.store(self.attempt, request, rendered))
                break
            except RenderError as error:
                if error.code != "storage_unavailable" or self.on_storage_lost is None:
                    raise
                self.on_storage_lost(error.message)
                self._wait_for_storage(error, until=started + HOLD_SECONDS)
        self.storing_seconds += time.monotonic() - started

    def _wait_for_storage(self, error: RenderError, until: float) -> None:
        """Hold a finished image until the store may take it. Raises `error` after `until`, or AttemptStopped."""
        while True:
            try:
                message = self.attempt.messages.get(timeout=max(until - time.monotonic(), 0.0))
            except queue.Empty:
                raise error from None
            match message:
                case StorageBack():
                    return
                case LeaseLost() | CancelRequested() | Drained():
                    raise AttemptStopped(message)
                case _:
                    self._postponed.append(message)

    def _progress(self, step: Step) -> None:
        """Report a step, on the thread that receives it."""
        self._latest[step.request_id] = step
        last = step.step == step.steps
        if not last and time.monotonic() - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = time.monotonic()
        images = int(self.attempt.job.input.get("num_images", 1))
        whole, total = sum(each.step for each in self._latest.values()), step.steps * images
        done = whole + sum(each.part for each in self._latest.values())
        # The started images of a job step together: a step of one takes as long as a step of all.
        stepping = max(len(self._pending.keys() & self._latest.keys()), 1)
        self.listener.progress(
            self.attempt.job.id,
            {
                "attempt": self.attempt.job.attempt,
                "step": whole,
                "steps": total,
                "value": round(min(done / total, 1.0), 4),
                "seconds_per_step": round(step.seconds_per_step, 4),
                "eta_seconds": round((total - done) * step.seconds_per_step / stepping, 3),
            },
        )
