"""Submit jobs: each is committed to the database before a hint is published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Integer,
    String,
    bindparam,
    select,
    update,
)
from sqlalchemy.orm import Session

from core.errors import FarmError, InvalidInput
from core.ids import new_id
from core.lifecycle import JobKind, JobStatus
from core.queue import PRIORITY_DEFAULT
from db.database import Database
from db.jobs.fairness import next_turn
from db.jobs.queued_limits import count_queued, lock_limits, too_many
from db.jobs.submit_alone import hinted_of, insert_alone
from db.jobs.transition import record_events
from db.prepared import Prepared, Transaction, core_table, detached
from db.sql import insert_ignore, insert_rows, now
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
        lock_limits(session, [new])
        jobs = _Jobs(session)
        submitted = _submit(session, jobs, Submission(new, idempotency))
        jobs.write()
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

    @property
    def is_plain(self) -> bool:
        """Whether it is one row and its event, and nothing else."""
        return self.idempotency is None and not self.locks_uploads


def submit_all(database: Database, submissions: Sequence[Submission]) -> list[Submitted | FarmError]:
    """Store jobs like `submit`, in one transaction; the error of one that is refused is returned in its place.

    None of them `locks_uploads`.
    """
    if all(each.is_plain for each in submissions):
        if len(submissions) == 1 and not database.is_sqlite:
            return [_submit_alone(database, submissions[0].new)]
        return _submit_plain(database, [each.new for each in submissions])
    found: dict[int, Submitted | FarmError] = {}
    # Transactions that claim the same keys must do so in the same order.
    order = sorted(range(len(submissions)), key=lambda index: _key_of(submissions[index]))
    with database.write() as session:
        lock_limits(session, [each.new for each in submissions])
        jobs = _Jobs(session)
        for index in order:
            try:
                if submissions[index].idempotency is None:  # A refusal comes before anything is written.
                    found[index] = _submit(session, jobs, submissions[index])
                else:
                    with session.begin_nested():
                        found[index] = _submit(session, jobs, submissions[index])
            except FarmError as error:
                found[index] = error
        jobs.write()
    return [found[index] for index in range(len(submissions))]


def _submit_plain(database: Database, submitted: Sequence[NewJob]) -> list[Submitted | FarmError]:
    """Store jobs without keys and uploads like `submit_all`, with no session, which costs more than the statements."""
    found: list[Submitted | FarmError] = []
    with database.write_rows() as connection:
        lock_limits(connection, submitted)
        jobs = _Jobs(connection)
        for new in submitted:
            try:
                found.append(_submitted(jobs.add(new)))
            except FarmError as error:  # It comes before anything is written.
                found.append(error)
        jobs.write()
    return found


def _submit_alone(database: Database, new: NewJob) -> Submitted | FarmError:
    found = insert_alone(
        database, _given(new), window=new.window, max_queued=new.max_queued, deadline_seconds=new.deadline_seconds
    )
    return found if isinstance(found, FarmError) else _submitted(detached(Job, {**_NO_VALUES, **found}))


def _key_of(submission: Submission) -> tuple[str, str]:
    once = submission.idempotency
    return (submission.new.owner, once.key) if once is not None else ("", "")


def _submit(session: Session, jobs: _Jobs, submission: Submission) -> Submitted:
    if submission.idempotency is None:
        return _submitted(jobs.add(submission.new))
    return _submit_once(session, jobs, submission.new, submission.idempotency)


def insert_job(session: Session, new: NewJob) -> Job:
    """Insert one job and its first event in the caller's transaction; set `hinted_at` if the window is not full.

    Returns an object that belongs to no session.

    Raises TooManyRequests at the owner's limit, InvalidInput when the job's upload was deleted.
    """
    jobs = _Jobs(session)
    job = jobs.add(new)
    jobs.write()
    return job


class _Jobs:
    """Jobs of one transaction, written together at its end. Each gets the values that it would get after those before it."""

    def __init__(self, session: Transaction) -> None:
        self._session = session
        self._jobs: list[Job] = []
        self._queued: dict[tuple[str, int], int] = {}
        self._turns: dict[tuple[str, str, int], int] = {}
        self._hinted: dict[str, int] = {}
        self._now = 0.0

    def add(self, new: NewJob) -> Job:
        """Return the job as it will be written. Raises the errors of `insert_job`, and nothing is added."""
        self._check_limit(new)
        _keep_upload(self._session, new.upload_id, "upload" if new.kind is JobKind.UPSCALE else "init_image")
        _keep_upload(self._session, new.mask_upload_id, "mask")
        turn = self._next_turn(new)
        is_hinted = self._hinted[new.model] < new.window
        self._hinted[new.model] += is_hinted
        deadline = None if new.deadline_seconds is None else self._now + new.deadline_seconds
        values = {
            **_given(new),
            "turn": turn,
            "deadline_at": deadline,
            "available_at": self._now,
            "hinted_at": self._now if is_hinted else None,
            "created_at": self._now,
        }
        job = detached(Job, {**_NO_VALUES, **values})
        self._jobs.append(job)
        return job

    def _check_limit(self, new: NewJob) -> None:
        """Raise TooManyRequests like `check_limit`; the database is asked once for each owner and limit."""
        if new.max_queued <= 0:
            return
        lane = (new.owner, new.max_queued)
        if lane not in self._queued:
            self._queued[lane] = count_queued(self._session, *lane)
        if self._queued[lane] + sum(job.owner == new.owner for job in self._jobs) >= new.max_queued:
            raise too_many(new.max_queued)

    def _next_turn(self, new: NewJob) -> int:
        """Return the next turn of the job's owner and lane; the database is asked once for each of these."""
        lane = (new.owner, new.model, new.priority)
        if lane in self._turns:
            self._turns[lane] += 1
        else:
            parameters = {"of_owner": new.owner, "of_model": new.model, "of_priority": new.priority}
            (found,) = _lane().rows(self._session, parameters)
            self._turns[lane] = found["turn"]
            self._hinted.setdefault(new.model, found["hinted"])
            self._now = self._now or found["now"]
        return self._turns[lane]

    def find(self, job_id: str) -> Job | None:
        """Return a job that was added and is not written yet."""
        return next((job for job in self._jobs if job.id == job_id), None)

    def write(self) -> None:
        """Insert the jobs and their first events."""
        if not self._jobs:
            return
        rows = [{name: value for name, value in vars(job).items() if name in _WRITTEN} for job in self._jobs]
        insert_rows(self._session, Job, None, rows)
        record_events(self._session, self._jobs, None)


def _given(new: NewJob) -> dict[str, Any]:
    """Return the values of a new job that do not depend on those before it."""
    return {
        "id": new_id(),
        "owner": new.owner,
        "client_label": new.client_label,
        "kind": new.kind.value,
        "model": new.model,
        "priority": new.priority,
        "status": JobStatus.QUEUED.value,
        "revision": 1,
        "attempt": 0,
        "max_attempts": new.max_attempts,
        "attempts_free": 0,
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


_WRITTEN = frozenset(
    (
        *(
            "id",
            "owner",
            "client_label",
            "kind",
            "model",
            "priority",
            "turn",
            "status",
            "revision",
            "attempt",
            "max_attempts",
        ),
        *("attempts_free", "deadline_at", "available_at", "hinted_at", "created_at", "prompt", "input", "requested"),
        *("warnings", "retried_from", "face", "upload_id", "mask_upload_id", "parent_image_id"),
    )
)
_NO_VALUES: Mapping[str, Any] = MappingProxyType(dict.fromkeys(Job.__table__.columns.keys()))


@cache
def _lane() -> Prepared:
    """Return the statement for what a new job needs to know of those before it."""
    owner, model = bindparam("of_owner", type_=String()), bindparam("of_model", type_=String())
    priority = bindparam("of_priority", type_=Integer())
    turn = next_turn(owner, model, priority).label("turn")
    return Prepared(select(turn, hinted_of(model).label("hinted"), now().label("now")))


def _submitted(job: Job) -> Submitted:
    return Submitted(job, hint=job.hinted_at is not None)


def _keep_upload(session: Transaction, upload_id: str | None, field: str) -> None:
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


def _submit_once(session: Session, jobs: _Jobs, new: NewJob, idempotency: Idempotency) -> Submitted:
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
        return _replay(session, jobs, new, idempotency)
    job = jobs.add(new)
    answer = idempotency.answer(job)
    mine = (IdempotencyKey.owner == new.owner, IdempotencyKey.key == idempotency.key)
    session.execute(update(core_table(IdempotencyKey)).where(*mine).values(job_id=job.id, answer=answer))
    return Submitted(job, hint=job.hinted_at is not None, answer=answer)


def _replay(session: Session, jobs: _Jobs, new: NewJob, idempotency: Idempotency) -> Submitted:
    row = session.get_one(IdempotencyKey, (new.owner, idempotency.key))
    if row.request_hash != idempotency.request_hash:
        raise InvalidInput(
            f"The Idempotency-Key '{idempotency.key}' was used before with another body. Use a new key for a new request.",
            code="idempotency_mismatch",
            field="Idempotency-Key",
        )
    job = jobs.find(row.job_id) or session.get(Job, row.job_id)
    if job is None:
        raise InvalidInput(
            "The job of this Idempotency-Key has been deleted. Use a new key to submit it again.",
            code="idempotency_job_deleted",
            field="Idempotency-Key",
        )
    return Submitted(job, hint=False, replayed=True, answer=row.answer)
