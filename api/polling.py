"""Read a job with its progress, long-poll for its changes, compute its ETag."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from api.farm import Farm
from api.views.jobs import job_view
from api.views.queue import queue_place
from core.lifecycle import SETTLED, JobStatus
from core.schemas.jobs import Job as JobAnswer
from db.jobs.read import Snapshot, read_snapshot
from db.tables import Job


async def read(farm: Farm, job_id: str, owner: str | None) -> Snapshot:
    """Return the present job; raise NotFound or Gone."""
    return await farm.quick_reads.run(read_snapshot, farm.database, job_id, owner)


async def show(farm: Farm, snapshot: Snapshot) -> JobAnswer:
    """Return the job's view, with its queue position while queued and its progress while running."""
    progress = queue = None
    if snapshot.job.status == JobStatus.RUNNING:
        progress = await farm.watcher.progress_of(snapshot.job.id, snapshot.job.started_at)
    if snapshot.job.status == JobStatus.QUEUED:
        recent = (await farm.recent_means()).get(snapshot.job.model)
        queue = queue_place(snapshot, await farm.overview.get(), recent)
    return job_view(snapshot, queue, progress)


async def wait_until_settled(
    farm: Farm, job_id: str, owner: str | None, seconds: float, *, after_revision: int | None = None
) -> Snapshot:
    """Wait until the job has settled or passed `after_revision`, for at most `seconds`; return its present state.

    Holds neither a thread nor a database connection while it waits.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    with farm.watcher.hub.subscribe(job_id) as subscription:
        snapshot = await read(farm, job_id, owner)
        while not _is_awaited_state(snapshot.job, after_revision) and not farm.closing.is_set():
            subscription.revision = max(subscription.revision, snapshot.job.revision)
            if not await subscription.wait(end - loop.time()):
                break
            changed = subscription.revision > snapshot.job.revision and (subscription.settled or after_revision is not None)
            if changed or subscription.job_deleted:
                snapshot = await read(farm, job_id, owner)
        return snapshot


def _is_awaited_state(job: Job, after_revision: int | None) -> bool:
    return job.status in SETTLED or (after_revision is not None and job.revision > after_revision)


def etag_of(answer: JobAnswer) -> str:
    """Return a weak tag of the revision and of the fields that change between revisions (progress, queue position)."""
    volatile: dict[str, Any] = {
        "queue": answer.queue and (answer.queue.position, answer.queue.reason, answer.queue.capable_workers),
        "progress": answer.progress and answer.progress.model_dump(),
        "cancel": answer.cancel_requested,
        "ratings": [output.rating for output in answer.outputs],
    }
    return f'W/"{answer.revision}-{zlib.crc32(repr(volatile).encode()):08x}"'


def revision_in(etag: str) -> int | None:
    """Return the revision in one of our tags; None for any other text."""
    digits = etag.removeprefix("W/").strip('"').partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else None
