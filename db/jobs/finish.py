"""End an attempt without images, fenced by its number: canceled, failed, held or requeued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import exists, literal, select, update
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus, Outcome
from core.retries import RetryRule, backoff_seconds, rule_for
from db.database import Database
from db.jobs.blame import exclude, record_failure
from db.jobs.transition import transition
from db.quarantine import is_final
from db.sql import RUNNING, now
from db.tables import Attempt, Job, JobExclusion, Worker
from db.worker_models import LIVE_SECONDS, serves


def finish_canceled(database: Database, job_id: str, attempt: int) -> Job | None:
    """Change the job to `canceled` after a user's request; None: this attempt no longer holds the job."""
    with database.write() as session:
        job = _leave_running(session, job_id, attempt, JobStatus.CANCELED, {}, code="cancel_requested")
        if job is not None:
            _close_attempt(session, job_id, attempt, Outcome.CANCELED)
        return job


def finish_error(database: Database, job_id: str, attempt: int, code: str, message: str) -> Job | None:
    """Fail, requeue or hold the job by the code's rule in `core.retries`; None: this attempt no longer holds the job."""
    with database.write() as session:
        return end_with_error(session, job_id, attempt, code, message)


def end_with_error(session: Session, job_id: str, attempt: int, code: str, message: str) -> Job | None:
    """End the attempt like `finish_error`, in the caller's transaction."""
    query = select(Job).where(Job.id == job_id, Job.attempt == attempt, RUNNING)
    job = session.scalar(query.with_for_update())
    if job is None:
        return None
    rule = rule_for(code)
    exclude(session, job, rule, code)
    if rule.blames_worker:
        record_failure(session, job, code)
    after, outcome = _next_status(session, job, rule)
    values = _values_after(job, rule, after, code, message)
    moved = _leave_running(session, job_id, attempt, after, values, code=code, message=message)
    if moved is not None:
        _close_attempt(session, job_id, attempt, outcome, code, message)
    return moved


def _next_status(session: Session, job: Job, rule: RetryRule) -> tuple[JobStatus, Outcome]:
    if not rule.retry:
        return JobStatus.FAILED, Outcome.FAILED
    if job.cancel_requested_at is not None:
        return JobStatus.CANCELED, Outcome.CANCELED
    outcome = Outcome.RETRIED if rule.costs_attempt else Outcome.RETURNED
    spent = job.attempt - job.attempts_free - (0 if rule.costs_attempt else 1)
    if spent >= job.max_attempts or (rule.other_worker and not _another_worker(session, job)):
        return JobStatus.HELD, outcome
    return JobStatus.QUEUED, outcome


def _another_worker(session: Session, job: Job) -> bool:
    """Return whether a live worker serves the model and is not excluded from this job."""
    excluded = exists().where(JobExclusion.job_id == job.id, JobExclusion.worker == Worker.name, is_final())
    alive = Worker.seen_at > now() - literal(LIVE_SECONDS)
    takes_jobs = (Worker.state.in_(("loading", "ready", "blocked", "unloaded")), Worker.drain_requested_at.is_(None))
    query = select(Worker.name).where(serves(job.model), alive, *takes_jobs, ~excluded).limit(1)
    return session.scalar(query) is not None


def _values_after(job: Job, rule: RetryRule, after: JobStatus, code: str, message: str) -> dict[str, Any]:
    values: dict[str, Any] = {"error_code": code, "error_message": message}
    if not rule.costs_attempt:
        values["attempts_free"] = Job.attempts_free + 1
    if after is JobStatus.QUEUED:
        values["available_at"] = now() + literal(backoff_seconds(rule, job.attempt))
    return values


def _leave_running(
    session: Session,
    job_id: str,
    attempt: int,
    after: JobStatus,
    values: Mapping[str, Any],
    code: str | None = None,
    message: str | None = None,
) -> Job | None:
    fence = Job.attempt == attempt
    return transition(session, job_id, JobStatus.RUNNING, after, fence, values=values, code=code, message=message)


def _close_attempt(
    session: Session, job_id: str, number: int, outcome: Outcome, code: str | None = None, message: str | None = None
) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.number == number, Attempt.ended_at.is_(None))
        .values(ended_at=now(), outcome=outcome, error_code=code, error_message=message)
    )
