"""The farm's history from its rows: ended jobs by time, open jobs by owner, events. Every query reads a bounded part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Integer, case, cast, func, select

from core.backoff import backoff_seconds
from core.lifecycle import OPEN, JobStatus
from db.database import Database
from db.jobs.blame import FIRST_SECONDS, MOST_SECONDS
from db.quarantine import is_on_probation
from db.sql import has_status, now
from db.tables import Attempt, Job, JobExclusion, Worker

MAX_JOBS = 100_000
"""The latest ended jobs, which the buckets count; reading them takes some tenths of a second."""
MAX_EVENTS = 100
_GOOD, _BAD = JobStatus.SUCCEEDED.value, (JobStatus.FAILED.value, JobStatus.EXPIRED.value)


@dataclass(frozen=True)
class EndedJobs:
    """Jobs that ended in the span from `number` times the bucket's seconds since 1970."""

    number: int
    succeeded: int
    failed: int
    wait_seconds: float | None
    run_seconds: float | None


@dataclass(frozen=True)
class Event:
    """One event; times are seconds since 1970."""

    at: float
    kind: str
    worker: str | None
    job_id: str | None
    message: str


def ended_jobs(database: Database, seconds: float, bucket_seconds: int) -> tuple[list[EndedJobs], bool]:
    """Return the ended jobs of the last `seconds` by bucket, and whether there were more than MAX_JOBS."""
    latest = (
        select(Job.completed_at, Job.created_at, Job.started_at, Job.status)
        .where(Job.completed_at.is_not(None), Job.completed_at >= now() - seconds)
        .order_by(Job.completed_at.desc())
        .limit(MAX_JOBS)
        .subquery()
    )
    number = cast(func.floor(latest.c.completed_at / bucket_seconds), Integer)
    good = latest.c.status == _GOOD
    query = select(
        number,
        func.sum(case((good, 1), else_=0)),
        func.sum(case((latest.c.status.in_(_BAD), 1), else_=0)),
        func.avg(case((good, latest.c.started_at - latest.c.created_at))),
        func.avg(case((good, latest.c.completed_at - latest.c.started_at))),
        func.count(),
    ).group_by(number)
    with database.read() as session:
        rows = session.execute(query.order_by(number)).all()
    found = [EndedJobs(int(key), int(ok), int(bad), _float(wait), _float(run)) for key, ok, bad, wait, run, _ in rows]
    return found, sum(row[-1] for row in rows) >= MAX_JOBS


def _float(value: float | None) -> float | None:
    return None if value is None else round(max(float(value), 0.0), 3)


def open_by_owner(database: Database, owner: str | None, limit: int = 200) -> list[tuple[str, str, dict[str, int]]]:
    """Return (model, owner, status -> jobs) of open jobs, those with most jobs first."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    with database.read() as session:
        for status in OPEN:  # one query each: IN would not use the partial indexes
            query = select(Job.model, Job.owner, func.count()).where(has_status(status))
            query = query.where(Job.owner == owner) if owner is not None else query
            for model, name, count in session.execute(query.group_by(Job.model, Job.owner)):
                found.setdefault((model, name), {})[status] = count
    ordered = sorted(found.items(), key=lambda row: (-sum(row[1].values()), row[0]))
    return [(model, name, counts) for (model, name), counts in ordered[:limit]]


def farm_events(database: Database, seconds: float, live: Sequence[str], owner: str | None) -> list[Event]:
    """Return the events of the last `seconds`, newest first; with `owner`, only that owner's jobs."""
    found = [*_workers(database, seconds, live), *_quarantined(database, live)]
    found += [*_held(database, owner), *failed_attempts(database, seconds, owner), *exclusions(database, seconds, owner)]
    return sorted(found, key=lambda event: -event.at)[:MAX_EVENTS]


def _workers(database: Database, seconds: float, live: Sequence[str]) -> list[Event]:
    query = select(Worker).where(Worker.seen_at >= now() - seconds, Worker.state != "stopped")
    with database.read() as session:
        rows = [worker for worker in session.scalars(query) if worker.name not in live]
    return [
        Event(row.seen_at, "worker_failed" if row.state == "failed" else "worker_lost", row.name, None, row.message or "")
        for row in rows
    ]


def _quarantined(database: Database, live: Sequence[str]) -> list[Event]:
    """Return the live workers in quarantine or on probation after it, at the time at which the quarantine started."""
    query = select(Worker).where(is_on_probation(), Worker.name.in_(live))
    with database.read() as session:
        return [
            Event(
                (row.quarantined_until or row.seen_at) - backoff_seconds(row.quarantines or 1, FIRST_SECONDS, MOST_SECONDS),
                "worker_quarantined",
                row.name,
                None,
                row.quarantine_reason or "",
            )
            for row in session.scalars(query)
        ]


def _held(database: Database, owner: str | None) -> list[Event]:
    query = select(Job).where(has_status(JobStatus.HELD)).order_by(Job.id.desc()).limit(MAX_EVENTS)
    query = query.where(Job.owner == owner) if owner is not None else query
    with database.read() as session:
        return [
            Event(job.completed_at or job.created_at, "job_held", job.worker, job.id, job.error_message or "")
            for job in session.scalars(query)
        ]


def failed_attempts(database: Database, seconds: float, owner: str | None) -> list[Event]:
    """Return the failed attempts of jobs that were tried again."""
    query = select(Attempt).join(Job, Job.id == Attempt.job_id)
    query = query.where(Attempt.error_code.is_not(None), Attempt.ended_at >= now() - seconds, Job.attempt > 1)
    query = query.where(Job.owner == owner) if owner is not None else query
    with database.read() as session:
        return [
            Event(row.ended_at or row.started_at, "attempt_failed", row.worker, row.job_id, row.error_message or "")
            for row in session.scalars(query.order_by(Attempt.ended_at.desc()).limit(MAX_EVENTS))
        ]


def exclusions(database: Database, seconds: float, owner: str | None) -> list[Event]:
    """Return the workers that were excluded from a job, at the time of that."""
    query = select(JobExclusion).join(Job, Job.id == JobExclusion.job_id).where(JobExclusion.created_at >= now() - seconds)
    query = query.where(Job.owner == owner) if owner is not None else query
    with database.read() as session:
        rows = session.scalars(query.order_by(JobExclusion.created_at.desc()).limit(MAX_EVENTS))
        return [Event(row.created_at, "worker_excluded", row.worker, row.job_id, row.code) for row in rows]
