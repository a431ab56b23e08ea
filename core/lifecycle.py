"""A job's states, and the one table of transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobKind(StrEnum):
    """What a job does. Life cycle, queue, fairness, events and webhooks are the same for all kinds."""

    RENDER = "render"
    UPSCALE = "upscale"


class JobStatus(StrEnum):
    """The state of a job. A cancel request is a flag on the job, not a state."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    HELD = "held"


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED})
"""States that a job never leaves. `held` is not among them: a user may retry a held job."""

OPEN = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.HELD)
"""All other states, in which few of the stored jobs are."""

SETTLED = TERMINAL | {JobStatus.HELD}
"""States that change only when a user acts."""

_Q, _R, _H = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.HELD

TRANSITIONS: Mapping[tuple[JobStatus | None, JobStatus], str] = {
    (None, _Q): "submitted",
    (_Q, _R): "claimed by a worker: opens a new attempt",
    (_Q, JobStatus.CANCELED): "canceled before it started",
    (_Q, JobStatus.EXPIRED): "its deadline passed before it could start",
    (_Q, _H): "no remaining worker can run it, or its attempts are used up",
    (_R, JobStatus.SUCCEEDED): "all its images are stored",
    (_R, JobStatus.FAILED): "an error that a retry cannot fix",
    (_R, JobStatus.CANCELED): "canceled at a step boundary",
    (_R, _Q): "requeued: lease lost, worker drained, or a retryable error",
    (_R, _H): "a retryable error, and its attempts are used up",
    (_H, _Q): "retried by a user",
    (_H, JobStatus.CANCELED): "canceled while held",
}
"""Every allowed change (from, to) and its meaning; `None` is a job that is not stored yet."""


class Outcome(StrEnum):
    """The result of one attempt."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    LOST = "lost"
    RETURNED = "returned"
    RETRIED = "retried"


class IllegalTransition(Exception):
    """A change that is not in the table: a programming error, never a user's."""


def check_transition(before: JobStatus | None, after: JobStatus) -> str:
    """Return the meaning of the change. Raises IllegalTransition when the table does not allow it."""
    try:
        return TRANSITIONS[before, after]
    except KeyError:
        raise IllegalTransition(f"{before} -> {after} is not in core.lifecycle.TRANSITIONS") from None
