"""The job's states, and the one table of transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands. A wish to cancel is a flag on the job, not a state."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    HELD = "held"


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED})
"""States that a job never leaves. `held` is not among them: a person may retry a held job."""

SETTLED = TERMINAL | {JobStatus.HELD}
"""States in which nothing happens any more unless a person acts."""

_Q, _R, _H = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.HELD

TRANSITIONS: Mapping[tuple[JobStatus | None, JobStatus], str] = {
    (None, _Q): "submitted",
    (_Q, _R): "claimed by a worker: opens a new attempt",
    (_Q, JobStatus.CANCELED): "canceled before it started",
    (_Q, JobStatus.EXPIRED): "its deadline passed before it could start",
    (_Q, _H): "no worker is left that could run it, or its attempts are used up",
    (_R, JobStatus.SUCCEEDED): "all its images are stored",
    (_R, JobStatus.FAILED): "an error that no retry can mend",
    (_R, JobStatus.CANCELED): "canceled at a step boundary",
    (_R, _Q): "given back: lease lost, worker drained, or a retryable error",
    (_R, _H): "a retryable error, and its attempts are used up",
    (_H, _Q): "retried by hand",
    (_H, JobStatus.CANCELED): "canceled while held",
}
"""Every allowed change (from, to) and what it means; `None` is a job not yet written."""


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    LOST = "lost"
    RETURNED = "returned"
    RETRIED = "retried"


class IllegalTransition(Exception):
    """A change that the table does not know: a programming error, never a user's."""


def check_transition(before: JobStatus | None, after: JobStatus) -> str:
    """The meaning of the change; raises IllegalTransition when the table does not allow it."""
    try:
        return TRANSITIONS[before, after]
    except KeyError:
        raise IllegalTransition(f"{before} -> {after} is not in core.lifecycle.TRANSITIONS") from None
