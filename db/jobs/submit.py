"""Submit jobs: each is committed to the database before a hint is published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
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
    update,
)
from sqlalchemy.orm import Session

from core.errors import FarmError, InvalidInput, TooManyRequests
from core.ids import new_id
from core.lifecycle import JobKind, JobStatus
from core.queue import PRIORITY_DEFAULT
from db.database import Database
from db.jobs.fairness import next_turn
from db.jobs.transition import record_event, record_events
from db.sql import QUEUED, insert_ignore, now
from db.tables import IdempotencyKey, Job, Upload, core_table


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
        submitted = _submit_once(session, new, idempotency)
        if not submitted.replayed:
            record_event(session, submitted.job, None)
        return submitted


@dataclass(frozen=True)
class Submission:
    """A job to submit, with the key that its client sent, if any."""

    new: NewJob
    idempotency: Idempotency | None = None

    @property
    def locks_uploads(self) -> bool:
        """Whether it locks rows that other transactions lock in another order: such a job is submitted alone."""
        return self.new.upload_id is not None or self.new.mask_upload_id is not None


def submit_all(database: Database, submissions: Sequence[Submission]) -> list[Submitted | FarmError]:
    """Store jobs like `submit`, in one transaction; the error of one that is refused is returned in its place.

    None of them `locks_uploads`.
    """
    found: dict[int, Submitted | FarmError] = {}
    stored: list[Job] = []
    # Transactions that claim the same keys must do so in the same order.
    order = sorted(range(len(submissions)), key=lambda index: _key_of(submissions[index]))
    with database.write() as session:
        for index in order:
            found[index] = answer = _submit_or_refuse(session, submissions[index])
            if isinstance(answer, Submitted) and not answer.replayed:
                stored.append(answer.job)
        record_events(session, stored, None)
    return [found[index] for index in range(len(submissions))]


def _key_of(submission: Submission) -> tuple[str, str]:
    once = submission.idempotency
    return (submission.new.owner, once.key) if once is not None else ("", "")


def _submit_or_refuse(session: Session, submission: Submission) -> Submitted | FarmError:
    try:
        if submission.idempotency is None:  # A refusal comes before anything is written.
            return _submitted(_insert(session, submission.new))
        with session.begin_nested():
            return _submit_once(session, submission.new, submission.idempotency)
    except FarmError as error:
        return error


def insert_job(session: Session, new: NewJob) -> Job:
    """Insert one job and its first event in the caller's transaction; set `hinted_at` if the window is not full.

    Returns an object that belongs to no session.

    Raises TooManyRequests at the owner's limit, InvalidInput when the job's upload was deleted.
    """
    job = _insert(session, new)
    record_event(session, job, None)
    return job


def _insert(session: Session, new: NewJob) -> Job:
    check_limit(session, new.owner, new.max_queued)
    _keep_upload(session, new.upload_id, "upload" if new.kind is JobKind.UPSCALE else "init_image")
    _keep_upload(session, new.mask_upload_id, "mask")
    given = {
        "id": new_id(),
        "owner": new.owner,
        "client_label": new.client_label,
        "kind": new.kind.value,
        "model": new.model,
        "priority": new.priority,
        "max_attempts": new.max_attempts,
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
    parameters = given | {"deadline_seconds": new.deadline_seconds, "window": new.window}
    computed = session.connection().execute(_insertion(), parameters).one()
    return Job(**given, **_FIRST_VALUES, **computed._mapping)


@cache
def _insertion() -> Executable:
    """Build the statement once: building one of this size costs more than running it."""
    given = {name: _given(name) for name in _GIVEN_COLUMNS}
    values = given | {
        "turn": next_turn(given["owner"], given["model"], given["priority"]),
        **_FIRST_VALUES,
        "deadline_at": now() + bindparam("deadline_seconds", type_=Double()),
        "available_at": now(),
        "hinted_at": _hint_if_window_has_room(given["model"], bindparam("window", type_=Integer())),
        "created_at": now(),
    }
    table = core_table(Job)
    return insert(table).values(values).returning(*(table.c[name] for name in _COMPUTED_COLUMNS))


_FIRST_VALUES: Mapping[str, Any] = MappingProxyType(
    {"status": JobStatus.QUEUED.value, "revision": 1, "attempt": 0, "attempts_free": 0}
)
_COMPUTED_COLUMNS = ("turn", "deadline_at", "available_at", "hinted_at", "created_at")
"""Columns of which the database computes the values of a new job."""
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
    job = _insert(session, new)
    answer = idempotency.answer(job)
    mine = (IdempotencyKey.owner == new.owner, IdempotencyKey.key == idempotency.key)
    session.execute(update(core_table(IdempotencyKey)).where(*mine).values(job_id=job.id, answer=answer))
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
