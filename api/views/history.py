"""A job's history, as the API shows it."""

from __future__ import annotations

from collections.abc import Sequence

from core.lifecycle import JobStatus
from core.retries import rule_for
from core.schemas.base import iso
from core.schemas.job import Attempt as AttemptAnswer
from core.schemas.job import JobError, JobHistory, JobHistoryEvent
from db.tables import Attempt, JobEvent


def history_answer(events: Sequence[JobEvent], attempts: Sequence[Attempt]) -> JobHistory:
    """Events and attempts, oldest first."""
    return JobHistory.model_construct(
        events=[event_answer(event) for event in events], attempts=[_attempt(attempt) for attempt in attempts]
    )


def event_answer(event: JobEvent) -> JobHistoryEvent:
    """One row of the history."""
    return JobHistoryEvent.model_construct(
        revision=event.revision,
        at=iso(event.at),  # type: ignore[arg-type]
        from_status=JobStatus(event.from_status) if event.from_status else None,
        to_status=JobStatus(event.to_status),
        attempt=event.attempt,
        worker=event.worker,
        code=event.code,
        message=event.message,
    )


def _attempt(attempt: Attempt) -> AttemptAnswer:
    error = None
    if attempt.error_code is not None:
        error = JobError(
            code=attempt.error_code,
            message=attempt.error_message or attempt.error_code,
            retryable=rule_for(attempt.error_code).retry,
        )
    return AttemptAnswer.model_construct(
        number=attempt.number,
        worker=attempt.worker,
        started_at=iso(attempt.started_at),  # type: ignore[arg-type]
        ended_at=iso(attempt.ended_at),
        outcome=attempt.outcome,
        error=error,
    )
