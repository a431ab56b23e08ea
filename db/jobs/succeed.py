"""End attempts with their images, fenced by their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import String, and_, bindparam, exists, literal_column, select, tuple_, update
from sqlalchemy.orm.attributes import set_committed_value

from core.ids import new_id
from core.lifecycle import JobStatus, Outcome
from db.database import Database
from db.jobs.claim import Held, held_by_attempts
from db.jobs.transition import TransitionStatement, build_transition, record_events
from db.prepared import Prepared, Transaction
from db.quarantine import trust
from db.sql import has_status, insert_rows, json_entry, now
from db.tables import Attempt, Image, Job, core_table
from db.tables.base import detached
from db.usage import UsageChange

_MORE_WAIT = "more_wait"


@dataclass(frozen=True)
class StoredImage:
    """An image whose file is already in the store."""

    index: int
    key: str
    width: int
    height: int
    seed: int
    format: str
    bytes: int
    sha256: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Success:
    """The images of an attempt; `timings` are the job's, in seconds."""

    job_id: str
    attempt: int
    images: Sequence[StoredImage]
    timings: Mapping[str, float]

    @property
    def held(self) -> Held:
        """The job and attempt that the success is fenced by."""
        return self.job_id, self.attempt


def finish_succeeded(
    database: Database, job_id: str, attempt: int, images: Sequence[StoredImage], timings: Mapping[str, float]
) -> Job | None:
    """Finish one attempt like `finish_all_succeeded`."""
    return finish_all_succeeded(database, [Success(job_id, attempt, images, timings)])[0]


def finish_all_succeeded(database: Database, successes: Sequence[Success]) -> list[Job | None]:
    """Write image rows and `succeeded` in one transaction; return the jobs in order.

    None: that attempt no longer holds its job, and nothing was written for it. Safe to repeat: when the response to a
    commit was lost, the second call returns the jobs that the same attempts ended.
    """
    return finish_and_look(database, successes)[0]


def finish_and_look(database: Database, successes: Sequence[Success]) -> tuple[list[Job | None], bool]:
    """Finish like `finish_all_succeeded`; return also whether a job of one of their models was queued at that moment.

    True where nobody looked: a worker saves itself a transaction only where surely nothing waits.
    """
    with database.write_rows() as session:
        rows = _success_transition().rows.rows(session, _fence_and_timings(successes))
        waiting = [row.pop(_MORE_WAIT) for row in rows]
        ended = {row["id"]: detached(Job, row) for row in rows}
        record_events(session, list(ended.values()), JobStatus.RUNNING, message=_success_transition().meaning)
        accepted = [(each, ended[each.job_id]) for each in successes if each.job_id in ended]
        _write(session, accepted)
        if repeated := [each.held for each in successes if each.job_id not in ended]:
            ended |= {row["id"]: detached(Job, row) for row in _succeeded_jobs().rows(session, {"held": repeated})}
        return [ended.get(each.job_id) for each in successes], not rows or any(waiting)


def _write(session: Transaction, ended: Sequence[tuple[Success, Job]]) -> None:
    if not ended:
        return
    _add_warnings(session, ended)
    insert_rows(session, Image, "created_at", [_image_row(job, image) for each, job in ended for image in each.images])
    trust(session, {job.worker for _, job in ended if job.worker is not None})
    _close_attempts().run(session, {"held": [each.held for each, _ in ended]})
    change = UsageChange()
    for each, job in ended:
        change.add_job(job, ((image.width, image.height) for image in each.images))
    change.write(session)


def _fence_and_timings(successes: Sequence[Success]) -> dict[str, Any]:
    timings = json.dumps({each.job_id: dict(each.timings) for each in successes})
    return {"held": [each.held for each in successes], "timings_by_job": timings}


def _add_warnings(session: Transaction, ended: Sequence[tuple[Success, Job]]) -> None:
    """Add what the engine warned about, which few jobs have, to the warnings that the job was submitted with."""
    for each, job in ended:
        found = [warning for image in each.images for warning in image.record.get("warnings", ())]
        warnings = list(dict.fromkeys([*job.warnings, *found]))
        if warnings != job.warnings:
            session.execute(update(core_table(Job)).where(core_table(Job).c.id == job.id).values(warnings=warnings))
            set_committed_value(job, "warnings", warnings)


@cache
def _success_transition() -> TransitionStatement:
    timings = json_entry(bindparam("timings_by_job", type_=String()), core_table(Job).c.id)
    table = core_table(Job)
    waiting = table.alias("waiting")
    # The outer column is literal: SQLAlchemy writes columns of SQLite's RETURNING without their table.
    queued = and_(waiting.c.status == literal_column("'queued'"), waiting.c.model == literal_column("jobs.model"))
    more_wait = exists().where(queued).correlate(table)
    return build_transition(
        JobStatus.RUNNING,
        JobStatus.SUCCEEDED,
        *held_by_attempts(),
        values={"timings": timings},
        returning=(more_wait.label(_MORE_WAIT),),
        lists=["held"],
    )


@cache
def _succeeded_jobs() -> Prepared:
    table = core_table(Job)
    held = tuple_(table.c.id, table.c.attempt).in_(bindparam("held", expanding=True))
    return Prepared(select(table).where(held, has_status(JobStatus.SUCCEEDED)), ["held"])


@cache
def _close_attempts() -> Prepared:
    table = core_table(Attempt)
    these = tuple_(table.c.job_id, table.c.number).in_(bindparam("held", expanding=True))
    closed = update(table).where(these, table.c.ended_at.is_(None))
    return Prepared(closed.values(ended_at=now(), outcome=Outcome.SUCCEEDED.value), ["held"])


def _image_row(job: Job, image: StoredImage) -> dict[str, Any]:
    return {
        "id": new_id(),
        "job_id": job.id,
        "attempt": job.attempt,
        "owner": job.owner,
        **{name: getattr(image, name) for name in StoredImage.__dataclass_fields__},
    }
