"""Ending attempts with their images, fenced by their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Executable, Integer, String, bindparam, select, tuple_, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from core.ids import new_id
from core.lifecycle import JobStatus, Outcome
from db.database import Database
from db.jobs.lease import Held, held_by_attempts
from db.jobs.transition import TransitionStatement, apply_transition, build_transition
from db.sql import has_status, insert_rows, now
from db.tables import Attempt, Image, Job, core_table


@dataclass(frozen=True)
class StoredImage:
    """An image whose file is already safe in the store."""

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
    """What an attempt made; `timings` are the job's, in seconds."""

    job_id: str
    attempt: int
    images: Sequence[StoredImage]
    timings: Mapping[str, float]

    @property
    def held(self) -> Held:
        """What it must still hold."""
        return self.job_id, self.attempt


def finish_succeeded(
    database: Database, job_id: str, attempt: int, images: Sequence[StoredImage], timings: Mapping[str, float]
) -> Job | None:
    """As `finish_all_succeeded` for one."""
    return finish_all_succeeded(database, [Success(job_id, attempt, images, timings)])[0]


def finish_all_succeeded(database: Database, successes: Sequence[Success]) -> list[Job | None]:
    """Image rows and `succeeded` in one transaction, for each in order.

    None: that attempt no longer holds its job, and nothing was written for it. Safe to repeat: when the answer to a
    commit was lost, the second call finds the jobs ended by these very attempts.
    """
    with database.write() as session:
        ended = {
            job.id: job for job in apply_transition(session, _succeeding(), {"held": [each.held for each in successes]})
        }
        mine = [(each, ended[each.job_id]) for each in successes if each.job_id in ended]
        _write(session, mine)
        if repeated := [each.held for each in successes if each.job_id not in ended]:
            before = session.scalars(_succeeded(), {"held": repeated})
            ended |= {job.id: job for job in before}
        return [ended.get(each.job_id) for each in successes]


def _write(session: Session, ended: Sequence[tuple[Success, Job]]) -> None:
    if not ended:
        return
    connection = session.connection()
    timings = [{"of_job": each.job_id, "timings": dict(each.timings)} for each, _ in ended]
    connection.execute(_timing(), timings)
    for each, job in ended:
        set_committed_value(job, "timings", dict(each.timings))
    insert_rows(session, Image, "created_at", [_image_row(job, image) for each, job in ended for image in each.images])
    connection.execute(_closing(), [{"of_job": each.job_id, "of_number": each.attempt} for each, _ in ended])


@cache
def _succeeding() -> TransitionStatement:
    return build_transition(JobStatus.RUNNING, JobStatus.SUCCEEDED, *held_by_attempts())


@cache
def _succeeded() -> Executable:
    held = tuple_(Job.id, Job.attempt).in_(bindparam("held", expanding=True))
    return select(Job).where(held, has_status(JobStatus.SUCCEEDED))


@cache
def _timing() -> Executable:
    table = core_table(Job)
    timings = bindparam("timings", type_=table.c.timings.type)
    return update(table).where(table.c.id == bindparam("of_job", type_=String())).values(timings=timings)


@cache
def _closing() -> Executable:
    table = core_table(Attempt)
    this = (
        table.c.job_id == bindparam("of_job", type_=String()),
        table.c.number == bindparam("of_number", type_=Integer()),
        table.c.ended_at.is_(None),
    )
    return update(table).where(*this).values(ended_at=now(), outcome=Outcome.SUCCEEDED.value)


def _image_row(job: Job, image: StoredImage) -> dict[str, Any]:
    return {
        "id": new_id(),
        "job_id": job.id,
        "attempt": job.attempt,
        "owner": job.owner,
        **{name: getattr(image, name) for name in StoredImage.__dataclass_fields__},
    }
