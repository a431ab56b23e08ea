"""Event stream of all jobs that a caller may see (server-sent events)."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

from api.dependencies import CallerDependency, FarmDependency
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.polling import show
from api.routes.job_events import RETRY_MILLISECONDS, event, media_type
from api.threads import in_thread
from api.views.jobs import job_view, progress_view
from api.watch import Feed
from core.lifecycle import SETTLED, JobStatus
from db.jobs.read import Snapshot, list_jobs, revisions_of, snapshot_of, snapshots_of
from db.tables import Job

POLL_SECONDS = 5.0
"""Interval of reads for changes that no message reports: new jobs, places in the queue, lost messages."""
PREVIEW_SECONDS = 0.8
MAX_OPEN, MAX_PLACES, MAX_PREVIEWS = 500, 20, 16

router = APIRouter(prefix="/v1/events", tags=["jobs"], route_class=LazyRoute)


@dataclass
class FarmStream:
    """The events of all visible jobs for one listener; while nothing happens it holds no thread and no connection."""

    farm: Farm
    owner: str | None
    previews: bool
    feed: Feed = field(default_factory=Feed)
    _open: dict[str, Job] = field(default_factory=dict)
    _sent_previews: dict[tuple[str, int], int] = field(default_factory=dict)
    _previewed_at: dict[str, float] = field(default_factory=dict)

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the open jobs, then every change, until the process stops."""
        yield format_sse_event(retry=RETRY_MILLISECONDS)
        async for chunk in self._poll():
            yield chunk
        polled_at = time.monotonic()
        while not self.farm.closing.is_set():
            await self.feed.wait(POLL_SECONDS - (time.monotonic() - polled_at))
            if self.farm.closing.is_set():
                return
            changed, progress = self.feed.take()
            async for chunk in self._changes(changed):
                yield chunk
            async for chunk in self._progress(progress):
                yield chunk
            if time.monotonic() - polled_at >= POLL_SECONDS:
                polled_at = time.monotonic()
                yield format_sse_event(comment="keep-alive")
                async for chunk in self._poll():
                    yield chunk

    async def _poll(self) -> AsyncIterator[bytes]:
        """Find changes that no message has reported, and send places in the queue."""
        known = dict(self._open)

        def read() -> tuple[list[Job], list[tuple[str, int, str]]]:
            statuses = (JobStatus.QUEUED, JobStatus.RUNNING)
            return (
                list_jobs(self.farm.database, owner=self.owner, statuses=statuses, limit=MAX_OPEN),
                revisions_of(self.farm.database, list(known)) if known else [],
            )

        rows, revisions = await in_thread(read)
        fresh = {job.id for job in rows if job.id not in known}
        moved = [job_id for job_id, revision, _ in revisions if revision > known[job_id].revision]
        for job_id in known.keys() - {job_id for job_id, _, _ in revisions}:
            self._open.pop(job_id, None)
            yield event("gone", {"id": job_id})
        async for chunk in self._changes([*fresh, *moved]):
            yield chunk
        queued = sorted((job for job in self._open.values() if job.status == JobStatus.QUEUED), key=lambda job: job.id)
        for job in queued[:MAX_PLACES]:
            yield event("job", await show(self.farm, await in_thread(snapshot_of, self.farm.database, job)))

    async def _changes(self, job_ids: Sequence[str]) -> AsyncIterator[bytes]:
        """Send the present state of those of the jobs that the caller may see."""
        for start in range(0, len(job_ids), 100):
            wanted = list(job_ids[start : start + 100])
            for snapshot in await in_thread(self._read, wanted):
                self._remember(snapshot.job)
                yield event("job", job_view(snapshot))

    def _read(self, job_ids: list[str]) -> list[Snapshot]:
        jobs = list_jobs(self.farm.database, owner=self.owner, conditions=[Job.id.in_(job_ids)], limit=len(job_ids))
        return snapshots_of(self.farm.database, jobs)

    def _remember(self, job: Job) -> None:
        if job.status in SETTLED:
            self._open.pop(job.id, None)
            self._previewed_at.pop(job.id, None)
            for key in [key for key in self._sent_previews if key[0] == job.id]:
                del self._sent_previews[key]
        elif len(self._open) < MAX_OPEN or job.id in self._open:
            self._open[job.id] = job

    async def _progress(self, reports: dict[str, dict[str, Any]]) -> AsyncIterator[bytes]:
        unknown = [job_id for job_id in reports if job_id not in self._open]
        if unknown:
            async for chunk in self._changes(unknown):
                yield chunk
        for job_id, report in reports.items():
            job = self._open.get(job_id)
            shown = progress_view(job, report) if job is not None else None
            if job is None or shown is None:
                continue
            yield event("progress", {"id": job_id, "progress": shown.model_dump(mode="json")})
            if self.previews:
                async for chunk in self._preview(job):
                    yield chunk

    async def _preview(self, job: Job) -> AsyncIterator[bytes]:
        now = time.monotonic()
        if now - self._previewed_at.get(job.id, float("-inf")) < PREVIEW_SECONDS or len(self._open) > MAX_PREVIEWS:
            return
        self._previewed_at[job.id] = now
        for index in range(min(int(job.input.get("num_images", 1)), 4)):
            image = await self.farm.watcher.preview_of(job.id, index)
            mark = zlib.crc32(image) if image is not None else None
            if image is None or mark is None or self._sent_previews.get((job.id, index)) == mark:
                continue
            self._sent_previews[job.id, index] = mark
            data = base64.b64encode(image).decode()
            yield event("preview", {"id": job.id, "index": index, "media_type": media_type(image), "data": data})


@router.get(
    "",
    response_class=StreamingResponse,
    summary="Follow all your jobs (server-sent events)",
    responses=error_responses() | {200: {"content": {"text/event-stream": {}}, "description": "The events."}},
)
async def read_events(
    farm: FarmDependency,
    caller: CallerDependency,
    previews: Annotated[bool, Query(description="Send previews of unfinished images too, of up to 16 open jobs.")] = False,
) -> StreamingResponse:
    """`job` is the present state of a job, `progress`, `preview`, and `gone` carry its `id`.

    The open jobs are sent first. After a broken connection, list the jobs that have ended meanwhile with GET /v1/jobs.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = FarmStream(farm, caller.visible_owner, previews)
    return StreamingResponse(_following(stream), media_type="text/event-stream", headers=headers)


async def _following(stream: FarmStream) -> AsyncIterator[bytes]:
    with stream.farm.watcher.hub.follow(stream.feed):
        async for chunk in stream.events():
            yield chunk
