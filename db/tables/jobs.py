"""Tables of jobs, their attempts, events, excluded workers, idempotency keys and tombstones."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from core.lifecycle import JobStatus
from db.tables.base import Base, EpochSeconds, Id, JsonObject

_STATUSES = ", ".join(f"'{status.value}'" for status in JobStatus)


class Job(Base):
    """One request for one or more images. Only `db.jobs.transition` changes `status`."""

    __tablename__ = "jobs"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    client_label: Mapped[str | None] = mapped_column(String(120))
    kind: Mapped[str] = mapped_column(String(12), server_default="render")
    """core.lifecycle.JobKind."""
    model: Mapped[str] = mapped_column(String(64))
    """The queue: a model's id, or core.queue.UPSCALE."""
    priority: Mapped[int] = mapped_column(SmallInteger)
    turn: Mapped[int] = mapped_column(BigInteger)
    """Virtual start time within (model, priority), for fair order between owners. See db.jobs.fairness."""
    status: Mapped[str] = mapped_column(String(12))
    revision: Mapped[int]
    attempt: Mapped[int]
    """The number of the latest attempt, and the fencing token: writes that name an older one are refused."""
    max_attempts: Mapped[int]
    attempts_free: Mapped[int]
    """Attempts that do not count against `max_attempts`: drained workers, retries by a user."""
    cancel_requested_at: Mapped[EpochSeconds | None]
    deadline_at: Mapped[EpochSeconds | None]
    available_at: Mapped[EpochSeconds]
    """The earliest time of a claim: the backoff of a retry."""
    hinted_at: Mapped[EpochSeconds | None]
    """When a hint for this job was published; None: it needs one."""
    worker: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[EpochSeconds | None]
    created_at: Mapped[EpochSeconds]
    started_at: Mapped[EpochSeconds | None]
    completed_at: Mapped[EpochSeconds | None]
    prompt: Mapped[str] = mapped_column(Text)
    input: Mapped[JsonObject]
    """Normalised parameters with the seed: everything that a worker needs."""
    requested: Mapped[JsonObject]
    """The request as the caller sent it."""
    warnings: Mapped[list[str]]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    timings: Mapped[JsonObject | None]
    """Seconds: queued_seconds, loading_seconds, rendering_seconds, storing_seconds; see core.schemas.jobs.Timings."""
    retried_from: Mapped[Id | None]
    face: Mapped[str | None] = mapped_column(String(8))
    """`a1111` for a job of that face, whose `interrupt` ends only those; None for any other."""
    upload_id: Mapped[Id | None]
    """The upload that `input` starts from: it is kept as long as the job."""
    mask_upload_id: Mapped[Id | None]
    """The upload that `input` names as its mask, kept likewise."""
    parent_image_id: Mapped[Id | None]
    """The image of this farm that the job was made from; it may have been deleted since."""

    __table_args__ = (CheckConstraint(f"status IN ({_STATUSES})", name="status"),)


_QUEUED = text("status = 'queued'")
_RUNNING = text("status = 'running'")


def _partial(name: str, *columns: object, where: object) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)  # type: ignore[arg-type]


# Each index serves one frequent query and holds only the rows that the query can match, so that history costs nothing.
_partial("ix_jobs_next", Job.model, Job.priority.desc(), Job.turn, Job.id, where=_QUEUED)
_partial("ix_jobs_owner_queued", Job.owner, Job.model, Job.priority, Job.turn, where=_QUEUED)
_partial("ix_jobs_hinted", Job.model, Job.hinted_at, where=text("status = 'queued' AND hinted_at IS NOT NULL"))
_partial("ix_jobs_deadline", Job.deadline_at, where=text("status = 'queued' AND deadline_at IS NOT NULL"))
_partial("ix_jobs_lease", Job.lease_until, where=_RUNNING)
_partial("ix_jobs_worker_running", Job.worker, where=_RUNNING)
_partial("ix_jobs_completed", Job.completed_at, where=text("completed_at IS NOT NULL"))
Index("ix_jobs_owner_id", Job.owner, Job.id)
_partial("ix_jobs_upload", Job.upload_id, where=text("upload_id IS NOT NULL"))
_partial("ix_jobs_mask_upload", Job.mask_upload_id, where=text("mask_upload_id IS NOT NULL"))
_partial("ix_jobs_parent_image", Job.parent_image_id, where=text("parent_image_id IS NOT NULL"))
# For lists by status, of all owners and of one. SQLite has no statistics and would prefer a plain index on status over
# the others.
for _status in JobStatus:
    _partial(f"ix_jobs_{_status}", Job.id, where=text(f"status = '{_status}'"))
    _partial(f"ix_jobs_{_status}_owner", Job.owner, Job.id, where=text(f"status = '{_status}'"))


class Attempt(Base):
    """One attempt, from claim to outcome; `number` is the job's fencing token while it runs."""

    __tablename__ = "attempts"

    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(String(120))
    incarnation: Mapped[str] = mapped_column(String(36))
    """Id of the worker's process: a restarted worker keeps its name but gets a new incarnation."""
    started_at: Mapped[EpochSeconds]
    ended_at: Mapped[EpochSeconds | None]
    outcome: Mapped[str | None] = mapped_column(String(12))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)


_partial("ix_attempts_failed", Attempt.ended_at, where=text("error_code IS NOT NULL"))


class JobEvent(Base):
    """One event of a job. `from_status` is None for the submit; equal statuses mark a request, such as to cancel."""

    __tablename__ = "job_events"

    # SQLite assigns row numbers only to INTEGER keys.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    revision: Mapped[int]
    at: Mapped[EpochSeconds]
    from_status: Mapped[str | None] = mapped_column(String(12))
    to_status: Mapped[str] = mapped_column(String(12))
    attempt: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(120))
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)


class JobExclusion(Base):
    """A worker that must not get a job again, for example because the job ran out of memory there."""

    __tablename__ = "job_exclusions"

    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    worker: Mapped[str] = mapped_column(String(120), primary_key=True)
    code: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[EpochSeconds]

    __table_args__ = (Index("ix_job_exclusions_created_at", "created_at"),)


class IdempotencyKey(Base):
    """One Idempotency-Key of an owner: the same request gets the same response, another body is refused."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[Id]
    answer: Mapped[JsonObject | None]
    created_at: Mapped[EpochSeconds]

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)


class Tombstone(Base):
    """A deleted job or image (`kind`), for 410 responses; `owner` limits them to callers who could see it."""

    __tablename__ = "tombstones"

    id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    owner: Mapped[str] = mapped_column(String(120))
    deleted_at: Mapped[EpochSeconds]
