"""Event stream of a job (server-sent events), and its latest preview."""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from api.dependencies import CallerDependency, FarmDependency, JobId
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.polling import show
from api.threads import in_thread
from api.views.jobs import event_view, progress_view
from api.watch import Subscription
from core.errors import NotFound
from core.lifecycle import SETTLED, JobStatus
from db.jobs.read import Snapshot, events_of, get_job, read_snapshot
from db.tables import JobEvent

KEEP_ALIVE_SECONDS = 15.0
PREVIEW_SECONDS = 0.4
RETRY_MILLISECONDS = 2000
END_SUFFIX = "-end"
_REVISION = re.compile(r"[0-9]{1,18}")


def event(name: str, data: BaseModel | dict[str, Any], event_id: str | None = None) -> bytes:
    """Encode one event of the stream."""
    text = data.model_dump_json() if isinstance(data, BaseModel) else json.dumps(data)
    return format_sse_event(event=name, data_str=text, id=event_id)


async def with_retry(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Add to the first event the time after which a browser connects again.

    In a block of its own it would be an empty event to some clients.
    """
    async for chunk in chunks:
        if chunk and not chunk.startswith(b":"):
            yield b"retry: %d\n%s" % (RETRY_MILLISECONDS, chunk)
            break
        yield chunk
    async for chunk in chunks:
        yield chunk


@dataclass
class JobStream:
    """The events of one job for one listener. While nothing happens it holds neither a thread nor a connection."""

    farm: Farm
    job_id: str
    after: int
    """Revision of the last event that the listener has received."""
    previews: bool
    _last_progress: dict[str, Any] | None = None

    async def events(self, subscription: Subscription) -> AsyncIterator[bytes]:
        """Yield events until the job has settled or the process stops."""
        previews = _Previews(self.farm, self.job_id)
        while True:
            snapshot, rows = await self._read(subscription.revision)
            for chunk in self._history(rows):
                yield chunk
            self.after = max(self.after, snapshot.job.revision)
            if snapshot.job.status in SETTLED:
                async for chunk in self._end(snapshot):
                    yield chunk
                return
            if snapshot.job.status == JobStatus.RUNNING and subscription.progress is None:
                subscription.progress = await self.farm.watcher.progress_of(self.job_id)
            while subscription.revision <= self.after:
                if (progress := self._new_progress(subscription)) is not None:
                    yield _progress(snapshot, progress)
                    if self.previews:
                        async for chunk in previews.fresh(int(snapshot.job.input.get("num_images", 1))):
                            yield chunk
                if not await subscription.wait(KEEP_ALIVE_SECONDS):
                    yield format_sse_event(comment="keep-alive")
                if self.farm.closing.is_set() or subscription.job_deleted:
                    return

    def _new_progress(self, subscription: Subscription) -> dict[str, Any] | None:
        """Return progress that was not sent yet; the same may arrive twice, stored in Redis and as a message."""
        progress, subscription.progress = subscription.progress, None
        if progress == self._last_progress:
            return None
        self._last_progress = progress or self._last_progress
        return progress

    async def _read(self, at_least: int) -> tuple[Snapshot, list[JobEvent]]:
        """Read job and history, shared by all listeners; read again when the result is older than the announced revision."""
        while True:
            found = await self.farm.single_flight.join(("job", self.job_id), self._read_now)
            if found[0].job.revision >= at_least or self.farm.closing.is_set():
                return found

    async def _read_now(self) -> tuple[Snapshot, list[JobEvent]]:
        def read() -> tuple[Snapshot, list[JobEvent]]:
            snapshot = read_snapshot(self.farm.database, self.job_id)
            rows = events_of(self.farm.database, self.job_id)
            # A change between the two queries is announced and read again: it is sent then.
            return snapshot, [row for row in rows if row.revision <= snapshot.job.revision]

        return await in_thread(read)

    def _history(self, rows: list[JobEvent]) -> Iterator[bytes]:
        for row in rows:
            if row.revision > self.after:
                yield event("status", event_view(row), str(row.revision))

    async def _end(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        answer = await show(self.farm, snapshot)
        for output in answer.outputs:
            yield event("output", output)
        yield event("end", answer, f"{snapshot.job.revision}{END_SUFFIX}")


def _progress(snapshot: Snapshot, report: dict[str, Any]) -> bytes:
    shown = progress_view(snapshot.job, report)
    return event("progress", shown) if shown is not None else b""


class _Previews:
    """Sends a preview when it differs from the last one sent, at most every PREVIEW_SECONDS."""

    def __init__(self, farm: Farm, job_id: str) -> None:
        self._farm, self._job_id = farm, job_id
        self._sent: dict[int, int] = {}
        self._at = float("-inf")

    async def fresh(self, num_images: int) -> AsyncIterator[bytes]:
        if time.monotonic() - self._at < PREVIEW_SECONDS:
            return
        self._at = time.monotonic()
        for index in range(num_images):
            image = await self._farm.watcher.preview_of(self._job_id, index)
            if image is None or self._sent.get(index) == (mark := zlib.crc32(image)):
                continue
            self._sent[index] = mark
            data = base64.b64encode(image).decode()
            yield event("preview", {"index": index, "media_type": media_type(image), "data": data})


def media_type(image: bytes) -> str:
    """Return the media type of a preview, which is JPEG or PNG."""
    return "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"


router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=LazyRoute)

_ABOUT_EVENTS = """\
`status` (a row of the job's history; `id` is the revision), `progress`, `preview` (base64), `output` (one per finished
image), `end` (the whole job; the stream closes). Send `Last-Event-ID` to resume after a broken connection: no status is
missed. After `end` the answer is 204, which makes browsers stop."""


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    summary="Follow a job (server-sent events)",
    description=_ABOUT_EVENTS,
    responses=error_responses(404, 410)
    | {
        200: {"content": {"text/event-stream": {}}, "description": "The events."},
        204: {"description": "You have received the end."},
    },
)
async def read_events(
    farm: FarmDependency,
    caller: CallerDependency,
    job_id: JobId,
    previews: Annotated[bool, Query(description="Send previews of unfinished images too.")] = False,
    last_event_id: Annotated[str | None, Header(description="Id of the last event that you received.")] = None,
) -> Response:
    """Stream the events; any number of clients may listen."""
    job = await in_thread(get_job, farm.database, job_id, caller.visible_owner)
    known = last_event_id or ""
    if known == f"{job.revision}{END_SUFFIX}":
        return Response(status_code=204)
    stream = JobStream(farm, job_id, int(known) if _REVISION.fullmatch(known) else 0, previews)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_subscribed(stream), media_type="text/event-stream", headers=headers)


async def _subscribed(stream: JobStream) -> AsyncIterator[bytes]:
    with stream.farm.watcher.hub.subscribe(stream.job_id) as subscription:
        async for chunk in with_retry(stream.events(subscription)):
            yield chunk


@router.get(
    "/{job_id}/preview",
    response_class=Response,
    summary="The latest preview of an unfinished image",
    responses=error_responses(404, 410)
    | {200: {"content": {"image/jpeg": {}, "image/png": {}}, "description": "A small image."}},
)
async def read_preview(
    farm: FarmDependency,
    caller: CallerDependency,
    job_id: JobId,
    index: Annotated[int, Query(ge=0, le=999, description="Which image of the job.")] = 0,
) -> Response:
    """Return the latest preview; previews are kept for some minutes only."""
    await in_thread(get_job, farm.database, job_id, caller.visible_owner)
    image = await farm.watcher.preview_of(job_id, index)
    if image is None:
        raise NotFound("There is no preview of this image now.", code="no_preview")
    return Response(image, media_type=media_type(image), headers={"Cache-Control": "no-store"})
