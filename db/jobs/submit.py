"""Submit jobs: each is committed to the database before a hint is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    Executable,
    Integer,
    bindparam,
    case,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.orm import Session

from core.errors import InvalidInput, TooManyRequests
from core.ids import new_id
from core.lifecycle import JobKind, JobStatus
from core.queue import PRIORITY_DEFAULT
from db.database import Database
from db.jobs.fairness import next_turn
from db.jobs.transition import record_event
from db.sql import QUEUED, insert_ignore, now
from db.tables import IdempotencyKey, Job, Upload


@dataclass(frozen=True)
class NewJob:
    """A job to submit; `input` is normalised and complete. `window`: hints that may be in the broker for its model.

    `max_queued`: the owner's limit of queued jobs; 0 for none.
    """

    owner: str
    model: str
    prompt: str
    input: dict[str, Any]
    requested: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    client_label: str | None = None
    priority: int = PRIORITY_DEFAULT
    max_attempts: int = 3
    deadline_seconds: float | None = None
    retried_from: str | None = None
    window: int = 0
    max_queued: int = 0
    face: str | None = None
    kind: JobKind = JobKind.RENDER

    @property
    def upload_id(self) -> str | None:
        """Return the upload that the job starts from."""
        found: str | None = self._upload_of("init_image") or (self.input.get("parent") or {}).get("upload")
        return found

    @property
    def mask_upload_id(self) -> str | None:
        """Return the upload that is the job's mask."""
        return self._upload_of("mask")

    @property
    def parent_image_id(self) -> str | None:
        """Return the image of this farm that the job is made from."""
        found: str | None = (self.input.get("parent") or {}).get("image")
        return found

    def _upload_of(self, field: str) -> str | None:
        found: str | None = (self.input.get(field) or {}).get("upload_id")
        return found


@dataclass(frozen=True)
class Idempotency:
    """`key` as the client sent it, `request_hash` of the body; `answer` builds the response that a replay returns again."""

    key: str
    request_hash: str
    answer: Callable[[Job], dict[str, Any]]


@dataclass(frozen=True)
class Submitted:
    """`hint`: publish this job now. `replayed`: the job existed already; `answer` is the first response."""

    job: Job
    hint: bool
    replayed: bool = False
    answer: dict[str, Any] | None = None


def submit(database: Database, new: NewJob, idempotency: Idempotency | None = None) -> Submitted:
    """Store the job. Raises TooManyRequests at the owner's limit, InvalidInput when a key is reused for another body."""
    with database.write() as session:
        if idempotency is None:
            return _submitted(insert_job(session, new))
        return _submit_once(session, new, idempotency)


def insert_job(session: Session, new: NewJob) -> Job:
    """Insert one job and its first event in the caller's transaction; set `hinted_at` if the window is not full.

    Raises TooManyRequests at the owner's limit, InvalidInput when the job's upload was deleted.
    """
    check_limit(session, new.owner, new.max_queued)
    _keep_upload(session, new.upload_id, "upload" if new.kind is JobKind.UPSCALE else "init_image")
    _keep_upload(session, new.mask_upload_id, "mask")
    values = {
        "id": new_id(),
        "owner": new.owner,
        "client_label": new.client_label,
        "kind": new.kind.value,
        "model": new.model,
        "priority": new.priority,
        "max_attempts": new.max_attempts,
        "deadline_seconds": new.deadline_seconds,
        "window": new.window,
        "prompt": new.prompt,
        "input": new.input,
        "requested": new.requested,
        "warnings": new.warnings,
        "retried_from": new.retried_from,
        "face": new.face,
        "upload_id": new.upload_id,
        "mask_upload_id": new.mask_upload_id,
        "parent_image_id": new.parent_image_id,
    }
    job: Job = session.scalars(_insertion(), values).one()
    record_event(session, job, None)
    return job


@cache
def _insertion() -> Executable:
    """Build the statement once: building one of this size costs more than running it."""
    given = {name: _given(name) for name in _GIVEN_COLUMNS}
    values = given | {
        "turn": next_turn(given["owner"], given["model"], given["priority"]),
        "status": JobStatus.QUEUED.value,
        "revision": 1,
        "attempt": 0,
        "attempts_free": 0,
        "deadline_at": now() + bindparam("deadline_seconds", type_=Double()),
        "available_at": now(),
        "hinted_at": _hint_if_window_has_room(given["model"], bindparam("window", type_=Integer())),
        "created_at": now(),
    }
    return select(Job).from_statement(insert(Job).values(values).returning(Job))


_GIVEN_COLUMNS = (
    *("id", "owner", "client_label", "kind", "model", "priority", "max_attempts"),
    *("prompt", "input", "requested", "warnings", "retried_from", "face", "upload_id", "mask_upload_id", "parent_image_id"),
)


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name, type_=Job.__table__.columns[name].type)


def _submitted(job: Job) -> Submitted:
    return Submitted(job, hint=job.hinted_at is not None)


def _hint_if_window_has_room(model: BindParameter[str], window: BindParameter[int]) -> ColumnElement[float]:
    hinted = (
        select(func.count()).select_from(Job).where(Job.model == model, QUEUED, Job.hinted_at.is_not(None)).scalar_subquery()
    )
    return case((hinted < window, now()), else_=None)


def check_limit(session: Session, owner: str, max_queued: int) -> None:
    """Raise TooManyRequests when the owner has `max_queued` queued jobs or more; 0 means no limit."""
    if max_queued <= 0:
        return
    queued = select(literal(1)).where(Job.owner == owner, QUEUED)
    if session.scalar(queued.offset(max_queued - 1).limit(1)) is not None:
        raise TooManyRequests(
            f"You have {max_queued} queued jobs, the limit. Wait until some have run, or cancel some.",
            retry_after=10.0,
        )


def _keep_upload(session: Session, upload_id: str | None, field: str) -> None:
    """Lock the upload until the job that uses it is committed: retention deletes no upload that is locked or used."""
    if upload_id is None:
        return
    found = select(Upload.id).where(Upload.id == upload_id).with_for_update(read=True, key_share=True)
    if session.scalar(found) is None:
        raise InvalidInput(
            f"The upload that this job names as {field} was deleted: send the image to POST /v1/uploads again, and submit a "
            "job with the new id.",
            field=field,
            code="upload_not_found",
        )


def _submit_once(session: Session, new: NewJob, idempotency: Idempotency) -> Submitted:
    claimed = insert_ignore(
        session,
        IdempotencyKey,
        owner=new.owner,
        key=idempotency.key,
        request_hash=idempotency.request_hash,
        job_id="",
        created_at=now(),
    )
    if not claimed:
        return _replay(session, new, idempotency)
    job = insert_job(session, new)
    answer = idempotency.answer(job)
    row = session.get_one(IdempotencyKey, (new.owner, idempotency.key))
    row.job_id, row.answer = job.id, answer
    session.flush()
    return Submitted(job, hint=job.hinted_at is not None, answer=answer)


def _replay(session: Session, new: NewJob, idempotency: Idempotency) -> Submitted:
    row = session.get_one(IdempotencyKey, (new.owner, idempotency.key))
    if row.request_hash != idempotency.request_hash:
        raise InvalidInput(
            f"The Idempotency-Key '{idempotency.key}' was used before with another body. Use a new key for a new request.",
            code="idempotency_mismatch",
            field="Idempotency-Key",
        )
    job = session.get(Job, row.job_id)
    if job is None:
        raise InvalidInput(
            "The job of this Idempotency-Key has been deleted. Use a new key to submit it again.",
            code="idempotency_job_deleted",
            field="Idempotency-Key",
        )
    return Submitted(job, hint=False, replayed=True, answer=row.answer)
