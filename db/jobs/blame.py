"""Blame a failure on the worker where it happened: its job goes elsewhere, and after several the worker is quarantined."""

from __future__ import annotations

import logging

from sqlalchemy import ColumnElement, delete, exists, literal, select, update
from sqlalchemy.orm import Session

from core.backoff import backoff_seconds
from core.retries import RetryRule
from db.quarantine import excludes, is_final, is_on_probation
from db.sql import insert_ignore, now
from db.tables import Job, JobExclusion, Worker
from db.worker_models import LIVE_SECONDS, serves

logger = logging.getLogger(__name__)

FAILED_JOBS = 3
"""Different jobs in a row, in as many separate failures, that quarantine a worker."""
SAME_FAILURE_SECONDS = 2.0
"""Attempts that end this soon after another ended with it, such as all that one engine held."""
FIRST_SECONDS, MOST_SECONDS = 60.0, 960.0
"""Time in quarantine before the worker may try one job; it doubles each time that this job fails."""


def exclude(session: Session, job: Job, rule: RetryRule, code: str) -> None:
    """Exclude the worker of a failed attempt from the job: for good, for a while when another can take it, or not at all."""
    if job.worker is None or not (rule.other_worker or rule.blames_worker):
        return
    of_job = JobExclusion.job_id == job.id
    if not rule.other_worker and not _has_other(session, job):
        # Every worker has failed, or there is one only: all of them may try again.
        session.execute(delete(JobExclusion).where(of_job, ~is_final()))
        return
    session.execute(delete(JobExclusion).where(of_job, JobExclusion.worker == job.worker, ~is_final()))
    insert_ignore(session, JobExclusion, job_id=job.id, worker=job.worker, code=code, created_at=now())


def _has_other(session: Session, job: Job) -> bool:
    """Return whether a live worker besides the job's own could take it now."""
    excluded = exists().where(JobExclusion.job_id == job.id, JobExclusion.worker == Worker.name, excludes())
    return session.scalar(select(Worker.name).where(*_others(str(job.worker), job.model), ~excluded).limit(1)) is not None


def _others(name: str, model: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Worker.name != name,
        Worker.seen_at > now() - literal(LIVE_SECONDS),
        Worker.state.in_(("ready", "unloaded")),
        Worker.paused_at.is_(None),
        Worker.drain_requested_at.is_(None),
        ~is_on_probation(),
        serves(model),
    )


def record_failure(session: Session, job: Job, code: str) -> bool:
    """Note that a job failed on its worker, and return whether the worker is in quarantine for it.

    The only worker of a model is never quarantined: the jobs would have nowhere to go.
    """
    found = session.execute(select(Worker, now()).where(Worker.name == job.worker).with_for_update(of=Worker)).first()
    if found is None:
        return False
    worker, moment = found
    failures = dict(worker.failures or {"jobs": {}, "at": 0.0})
    if moment - failures["at"] < SAME_FAILURE_SECONDS:
        return False
    failures = {"jobs": {**failures["jobs"], job.id: code}, "at": moment}
    values = {"failures": failures} | (
        _quarantine(worker, failures["jobs"]) if _is_due(session, worker, job, failures) else {}
    )
    session.execute(update(Worker).where(Worker.name == worker.name).values(**values))
    return len(values) > 1


def _is_due(session: Session, worker: Worker, job: Job, failures: dict[str, dict[str, str]]) -> bool:
    if worker.quarantined_until is None and len(failures["jobs"]) < FAILED_JOBS:
        return False
    return session.scalar(select(literal(1)).where(exists().where(*_others(worker.name, job.model)))) is not None


def _quarantine(worker: Worker, jobs: dict[str, str]) -> dict[str, object]:
    times = (worker.quarantines or 0) + 1
    seconds = backoff_seconds(times, FIRST_SECONDS, MOST_SECONDS)
    reason = f"{len(jobs)} different jobs in a row failed here ({', '.join(sorted(set(jobs.values())))})."
    logger.warning("worker %s is in quarantine for %g s: %s", worker.name, seconds, reason)
    return {"quarantined_until": now() + literal(seconds), "quarantines": times, "quarantine_reason": reason[:500]}
