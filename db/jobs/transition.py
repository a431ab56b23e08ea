"""The one setter of a job's status: compare-and-set, a new revision and a row of history."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Insert, bindparam, insert, update
from sqlalchemy.orm import Session

from core.lifecycle import SETTLED, JobStatus, check_transition
from db.clock import now
from db.tables import Job, JobEvent


def transition(
    session: Session,
    job_id: str,
    before: JobStatus,
    after: JobStatus,
    *conditions: ColumnElement[bool],
    values: Mapping[str, Any] | None = None,
    code: str | None = None,
    message: str | None = None,
) -> Job | None:
    """Moves a job from `before` to `after` if it is there and `conditions` hold; None: somebody was faster."""
    meaning = check_transition(before, after)
    changes = _standard_changes(after) | dict(values or {})
    job = session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.status == before, *conditions)
        .values(status=after, revision=Job.revision + 1, **changes)
        .returning(Job)
        .execution_options(populate_existing=True)
    )
    if job is not None:
        record_event(session, job, before, code=code, message=message or meaning)
    return job


def record_event(
    session: Session, job: Job, before: JobStatus | None, *, code: str | None = None, message: str | None = None
) -> None:
    """Writes one row of the job's history, as the job stands now."""
    values = {
        "job_id": job.id,
        "revision": job.revision,
        "from_status": before,
        "to_status": job.status,
        "attempt": job.attempt,
        "worker": job.worker,
        "code": code,
        "message": message,
    }
    session.connection().execute(_event_insertion(tuple(values)), values)


@cache
def _event_insertion(names: tuple[str, ...]) -> Insert:
    """Built once: building a statement costs more than running it."""
    table = JobEvent.__table__
    given = {name: bindparam(name, type_=table.columns[name].type) for name in names}
    return insert(JobEvent).values(at=now(), **given)


def _standard_changes(after: JobStatus) -> dict[str, Any]:
    """Columns that follow from the new status alone."""
    if after is JobStatus.RUNNING:
        return {"error_code": None, "error_message": None}
    released: dict[str, Any] = {"lease_until": None, "hinted_at": None}
    if after is JobStatus.QUEUED:
        return released | {"worker": None, "completed_at": None}
    if after in SETTLED:
        return released | {"completed_at": now()}
    return released
