"""End attempts with their images, fenced by their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import CTE, String, and_, bindparam, exists, insert, literal_column, or_, select, tuple_, update
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.dml import UpdateBase

from core.ids import new_id
from core.lifecycle import JobStatus, Outcome
from db.database import Database
from db.jobs.claim import Held, held_by_attempts
from db.jobs.transition import TransitionStatement, build_transition, record_events
from db.prepared import Prepared, Transaction, connection_of, core_table, detached
from db.quarantine import trust, trusting
from db.sql import has_status, insert_rows, json_entry, now, row_set
from db.tables import Attempt, Image, Job
from db.usage import UsageChange, adding

_MORE_WAIT = "more_wait"
HINT_SECONDS = 0.1
"""How long a hint takes to a worker at most. One that takes the job before uses a claim, and another when the hint comes."""


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
    """Write image rows and `succeeded` together; return the jobs in order.

    None: that attempt no longer holds its job, and nothing was written for it. Safe to repeat: when the response to a
    commit was lost, the second call returns the jobs that the same attempts ended.
    """
    return finish_and_look(database, successes)[0]


def finish_and_look(database: Database, successes: Sequence[Success]) -> tuple[list[Job | None], bool]:
    """Finish like `finish_all_succeeded`; return also whether a job of one of their models waits for a free worker.

    One whose hint was sent just now does not: the hint brings it a worker, this one if no other is free. True where nobody
    looked: a worker saves itself a transaction only where surely nothing waits.
    """
    with database.write_rows(separate=not any(_warnings_of(each) for each in successes)) as session:
        in_one = connection_of(session).dialect.name == "postgresql"
        if in_one:
            rows = _finish_with_rows(session, successes)
        else:
            rows = _success_transition().rows.rows(session, _fence_and_timings(successes))
        waiting = [row.pop(_MORE_WAIT) for row in rows]
        ended = {row["id"]: detached(Job, row) for row in rows}
        accepted = [(each, ended[each.job_id]) for each in successes if each.job_id in ended]
        if not in_one:
            _write_rows(session, accepted)
            _add_usage(session, accepted)
        _add_warnings(session, accepted)
        if repeated := [each.held for each in successes if each.job_id not in ended]:
            ended |= {row["id"]: detached(Job, row) for row in _succeeded_jobs().rows(session, {"held": repeated})}
        return [ended.get(each.job_id) for each in successes], not rows or any(waiting)


def _finish_with_rows(session: Transaction, successes: Sequence[Success]) -> list[dict[str, Any]]:
    """End the attempts, write what `_write_rows` writes and add the usage, in one statement, for Postgres.

    Return the rows of the jobs.
    """
    images = [_image_values(each, image) for each in successes for image in each.images]
    return _success_with_rows().rows(session, _fence_and_timings(successes) | {"new_images": json.dumps(images)})


def _write_rows(session: Transaction, ended: Sequence[tuple[Success, Job]]) -> None:
    """Write the events and images of attempts that have ended, trust their workers and close them."""
    if not ended:
        return
    record_events(session, [job for _, job in ended], JobStatus.RUNNING, message=_success_transition().meaning)
    images = [_image_values(each, image) | {"owner": job.owner} for each, job in ended for image in each.images]
    insert_rows(session, Image, "created_at", images)
    trust(session, {job.worker for _, job in ended if job.worker is not None})
    _close_attempts().run(session, {"held": [each.held for each, _ in ended]})


def _add_usage(session: Transaction, ended: Sequence[tuple[Success, Job]]) -> None:
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
        warnings = list(dict.fromkeys([*job.warnings, *_warnings_of(each)]))
        if warnings != job.warnings:
            session.execute(update(core_table(Job)).where(core_table(Job).c.id == job.id).values(warnings=warnings))
            set_committed_value(job, "warnings", warnings)


def _warnings_of(success: Success) -> list[str]:
    return [warning for image in success.images for warning in image.record.get("warnings", ())]


@cache
def _success_transition() -> TransitionStatement:
    timings = json_entry(bindparam("timings_by_job", type_=String()), core_table(Job).c.id)
    table = core_table(Job)
    waiting = table.alias("waiting")
    # The outer column is literal: SQLAlchemy writes columns of SQLite's RETURNING without their table.
    queued = and_(waiting.c.status == literal_column("'queued'"), waiting.c.model == literal_column("jobs.model"))
    hint_is_old = or_(waiting.c.hinted_at.is_(None), waiting.c.hinted_at <= now() - HINT_SECONDS)
    more_wait = exists().where(queued, hint_is_old).correlate(table)
    return build_transition(
        JobStatus.RUNNING,
        JobStatus.SUCCEEDED,
        *held_by_attempts(),
        values={"timings": timings},
        returning=(more_wait.label(_MORE_WAIT),),
        lists=["held"],
    )


@cache
def _success_with_rows() -> Prepared:
    def others(ended: CTE) -> list[UpdateBase]:
        attempts, given = core_table(Attempt), row_set(Image, "new_images", _IMAGE_COLUMNS)
        image = select(*given.c).cte("given_images")
        this = (attempts.c.job_id == ended.c.id, attempts.c.number == ended.c.attempt, attempts.c.ended_at.is_(None))
        rendered = select(*image.c, ended.c.owner, now()).join_from(image, ended, image.c.job_id == ended.c.id)
        return [
            update(attempts).where(*this).values(ended_at=now(), outcome=Outcome.SUCCEEDED.value),
            insert(core_table(Image)).from_select([*_IMAGE_COLUMNS, "owner", "created_at"], rendered),
            trusting(select(ended.c.worker)),
            adding(ended, image),
        ]

    return _success_transition().with_history(others, ["held"])


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


_IMAGE_COLUMNS = ("id", "job_id", "attempt", *StoredImage.__dataclass_fields__)


def _image_values(success: Success, image: StoredImage) -> dict[str, Any]:
    """Return the values of an image's row, in the order of _IMAGE_COLUMNS."""
    return {"id": new_id(), "job_id": success.job_id, "attempt": success.attempt, **vars(image)}
