"""The one setter of a job's status: compare-and-set, a new revision and a row of history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Executable, select, update
from sqlalchemy.orm import Session

from core.lifecycle import SETTLED, JobStatus, check_transition
from db.sql import has_status, insert_rows, now
from db.tables import Job, JobEvent, core_table


@dataclass(frozen=True)
class TransitionStatement:
    """A change of status that is made often: its statement is built once, which costs more than running it."""

    before: JobStatus
    meaning: str
    statement: Executable


def build_transition(
    before: JobStatus, after: JobStatus, *conditions: ColumnElement[bool], values: Mapping[str, Any] | None = None
) -> TransitionStatement:
    """The change from `before` to `after` of every job for which `conditions` hold; they may have parameters."""
    meaning = check_transition(before, after)
    changes = _standard_changes(after) | dict(values or {})
    table = core_table(Job)
    changed = (
        update(table)
        .where(has_status(before), *conditions)
        .values(status=after.value, revision=table.c.revision + 1, **changes)
        .returning(table)
    )
    return TransitionStatement(
        before, meaning, select(Job).from_statement(changed).execution_options(populate_existing=True)
    )


def apply_transition(
    session: Session,
    change: TransitionStatement,
    parameters: Mapping[str, Any] | None = None,
    *,
    code: str | None = None,
    message: str | None = None,
) -> list[Job]:
    """The jobs that were changed, in no order; a job that is missing was changed by somebody faster."""
    jobs = list(session.scalars(change.statement, dict(parameters or {})))
    _record(session, jobs, change.before, code, message or change.meaning)
    return jobs


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
    change = build_transition(before, after, Job.id == job_id, *conditions, values=values)
    return next(iter(apply_transition(session, change, code=code, message=message)), None)


def record_event(
    session: Session, job: Job, before: JobStatus | None, *, code: str | None = None, message: str | None = None
) -> None:
    """Writes one row of the job's history, as the job stands now."""
    _record(session, [job], before, code, message)


def _record(session: Session, jobs: list[Job], before: JobStatus | None, code: str | None, message: str | None) -> None:
    rows = [
        {
            "job_id": job.id,
            "revision": job.revision,
            "from_status": before,
            "to_status": job.status,
            "attempt": job.attempt,
            "worker": job.worker,
            "code": code,
            "message": message,
        }
        for job in jobs
    ]
    insert_rows(session, JobEvent, "at", rows)


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
