"""Operations on models' weights: start, claim, report, finish, cancel. The only setters of their state.

An executor claims an operation for the time of a lease and renews it with each report. When the lease expires, the next
executor claims the operation again. Every setter of a running operation names its attempt, and changes nothing once
another claim has followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, literal, or_, select, update
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.ids import new_id
from core.model_operations import ENDED, OperationKind, OperationState
from db.database import Database
from db.prepared import Prepared
from db.sql import insert_ignore, now
from db.tables import ModelOperation

MOST_ATTEMPTS = 5
"""Executors that may be lost during one operation before it fails."""
KEEP_SECONDS = 30 * 86_400.0
"""Ended operations are deleted after this time."""
DETAIL_CHARS, MESSAGE_CHARS = 500, 4000

_QUEUED = ModelOperation.state == OperationState.QUEUED
_RUNNING = ModelOperation.state == OperationState.RUNNING
_IDLE: dict[str, Any] = {"stage": None, "done_bytes": 0, "total_bytes": 0}


@dataclass(frozen=True)
class Started:
    """An operation; `created` is false when the same one was under way already."""

    operation: ModelOperation
    created: bool


@dataclass(frozen=True)
class Report:
    """Progress within a stage, in bytes."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0
    detail: str = ""


def start(database: Database, kind: OperationKind, model: str, requested_by: str) -> Started:
    """Queue an operation, or return the one of the same kind that is under way for that model.

    Raises Conflict `model_busy` while another kind is under way.
    """
    values: dict[str, Any] = {
        **_IDLE,
        "kind": kind.value,
        "model": model,
        "state": OperationState.QUEUED.value,
        "revision": 1,
        "attempt": 0,
        "requested_by": requested_by,
        "created_at": now(),
    }
    operation_id = new_id()
    with database.write() as session:
        session.execute(
            delete(ModelOperation).where(
                ModelOperation.state.in_(list(ENDED)), ModelOperation.ended_at < now() - literal(KEEP_SECONDS)
            )
        )
        created = insert_ignore(session, ModelOperation, id=operation_id, **values)
        found = session.scalar(
            select(ModelOperation).where(ModelOperation.id == operation_id)
            if created
            else select(ModelOperation).where(ModelOperation.model == model, or_(_QUEUED, _RUNNING))
        )
    if found is None:
        raise Conflict(f"Another operation on {model} has just ended: send the request again.", code="model_busy")
    if found.kind != kind:
        raise Conflict(
            f"The operation {found.id} ({found.kind}) on {model} is under way: wait for its end or cancel it first.",
            code="model_busy",
        )
    return Started(found, created)


def claim(database: Database, executor: str, lease_seconds: float) -> ModelOperation | None:
    """Claim the oldest operation that waits or whose executor was lost; None when there is none.

    Operations that lost too many executors fail, and those that are to be canceled are.
    """
    with database.read_rows() as connection:
        if not _any_claimable().rows(connection, {}):
            return None
    with database.write() as session:
        _end_lost(session)
        oldest = select(ModelOperation.id).where(claimable()).order_by(ModelOperation.id).limit(1)
        claimed = session.scalar(oldest.with_for_update(skip_locked=True))
        if claimed is None:
            return None
        return _change(
            session,
            ModelOperation.id == claimed,
            state=OperationState.RUNNING.value,
            attempt=ModelOperation.attempt + 1,
            executor=executor,
            detail=None,
            lease_until=now() + literal(lease_seconds),
            started_at=case((ModelOperation.started_at.is_(None), now()), else_=ModelOperation.started_at),
            **_IDLE,
        )


@cache
def _any_claimable() -> Prepared:
    return Prepared(select(ModelOperation.id).where(claimable()).limit(1))


def claimable() -> ColumnElement[bool]:
    """Return the condition that an operation waits for an executor, or has lost its own."""
    due = or_(ModelOperation.lease_until.is_(None), ModelOperation.lease_until <= now())
    return and_(or_(_QUEUED, _RUNNING), due)


def _end_lost(session: Session) -> None:
    lost = and_(_RUNNING, ModelOperation.lease_until <= now())
    ended: dict[str, Any] = {"lease_until": None, "ended_at": now(), "revision": ModelOperation.revision + 1}
    session.execute(
        update(ModelOperation)
        .where(lost, ModelOperation.cancel_requested_at.is_not(None))
        .values(state=OperationState.CANCELED.value, **ended)
    )
    session.execute(
        update(ModelOperation)
        .where(lost, ModelOperation.attempt >= MOST_ATTEMPTS)
        .values(
            state=OperationState.FAILED.value,
            error_code="executor_lost",
            error_message=f"The process that ran this operation was lost {MOST_ATTEMPTS} times. Read the log of the "
            "reaper or the model manager; it may have run out of memory.",
            **ended,
        )
    )


def report(
    database: Database, operation: ModelOperation, progress: Report | None, lease_seconds: float
) -> ModelOperation | None:
    """Renew the lease and store the progress; return the operation, or None when this attempt no longer holds it."""
    values: dict[str, Any] = {"lease_until": now() + literal(lease_seconds)}
    if progress is not None:
        values |= {
            "stage": progress.stage[:32],
            "detail": progress.detail[:DETAIL_CHARS] or None,
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
            "revision": ModelOperation.revision + 1,
        }
    with database.write() as session:
        return _change(session, _held(operation), counts=False, **values)


def succeed(database: Database, operation: ModelOperation, result: Mapping[str, Any]) -> ModelOperation | None:
    """Finish the operation with its result; None when this attempt no longer holds it."""
    return _finish(database, operation, OperationState.SUCCEEDED, result=dict(result))


def fail(database: Database, operation: ModelOperation, code: str, message: str) -> ModelOperation | None:
    """Finish the operation with an error; None when this attempt no longer holds it."""
    return _finish(database, operation, OperationState.FAILED, error_code=code[:64], error_message=message[:MESSAGE_CHARS])


def set_canceled(database: Database, operation: ModelOperation) -> ModelOperation | None:
    """Finish the operation as canceled; None when this attempt no longer holds it."""
    return _finish(database, operation, OperationState.CANCELED)


def give_back(
    database: Database, operation: ModelOperation, detail: str = "", *, after_seconds: float = 0.0
) -> ModelOperation | None:
    """Queue the operation again at no cost of an attempt, for a claim after that time. `detail`: why it waits."""
    due = now() + literal(after_seconds) if after_seconds else None
    values: dict[str, Any] = {"state": OperationState.QUEUED.value, "executor": None, "lease_until": due}
    values |= {"detail": detail[:DETAIL_CHARS] or None, "attempt": ModelOperation.attempt - 1, **_IDLE}
    with database.write() as session:
        return _change(session, _held(operation), **values)


def request_cancel(database: Database, operation_id: str) -> ModelOperation:
    """Cancel a waiting operation at once, and request it of a running one's executor. An ended one stays as it is."""
    with database.write() as session:
        this = ModelOperation.id == operation_id
        waiting = _change(
            session,
            and_(this, _QUEUED),
            state=OperationState.CANCELED.value,
            cancel_requested_at=now(),
            lease_until=None,
            ended_at=now(),
        )
        if waiting is not None:
            return waiting
        unasked = ModelOperation.cancel_requested_at.is_(None)
        running = _change(session, and_(this, _RUNNING, unasked), cancel_requested_at=now())
        return running or _get(session, operation_id)


def get_operation(database: Database, operation_id: str) -> ModelOperation:
    """Return an operation; raise NotFound for an unknown id."""
    with database.read() as session:
        return _get(session, operation_id)


def read_operations(database: Database, operation_ids: Sequence[str]) -> dict[str, ModelOperation]:
    """Return those of the operations that exist, by id, in one query."""
    if not operation_ids:
        return {}
    with database.read() as session:
        rows = session.scalars(select(ModelOperation).where(ModelOperation.id.in_(operation_ids)))
        return {row.id: row for row in rows}


def list_operations(database: Database, model: str | None, limit: int) -> Sequence[ModelOperation]:
    """Return the latest operations, newest first."""
    query = select(ModelOperation).order_by(ModelOperation.id.desc()).limit(limit)
    with database.read() as session:
        return session.scalars(query if model is None else query.where(ModelOperation.model == model)).all()


def _get(session: Session, operation_id: str) -> ModelOperation:
    row = session.get(ModelOperation, operation_id)
    if row is None:
        raise NotFound("There is no model operation with this id.", code="operation_not_found")
    return row


def _held(operation: ModelOperation) -> ColumnElement[bool]:
    return and_(ModelOperation.id == operation.id, _RUNNING, ModelOperation.attempt == operation.attempt)


def _finish(database: Database, operation: ModelOperation, state: OperationState, **values: Any) -> ModelOperation | None:  # noqa: ANN401 -- columns
    with database.write() as session:
        return _change(session, _held(operation), state=state.value, lease_until=None, ended_at=now(), detail=None, **values)


def _change(
    session: Session,
    condition: ColumnElement[bool],
    *,
    counts: bool = True,
    **values: Any,  # noqa: ANN401 -- columns
) -> ModelOperation | None:
    """Update the rows that meet the condition; `counts`: as a change that a waiting client is told of."""
    values |= {"revision": ModelOperation.revision + 1} if counts else {}
    statement = update(ModelOperation).where(condition).values(**values).returning(ModelOperation)
    return session.scalar(statement.execution_options(populate_existing=True))
