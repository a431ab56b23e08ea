"""Change a job's status: compare-and-set, a new revision and an event. No other module sets `status`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, ColumnElement, Executable, String, insert, literal, literal_column, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate, UpdateBase

from core.lifecycle import SETTLED, JobStatus, check_transition
from db.prepared import Prepared, Transaction, core_table
from db.sql import has_status, insert_rows, now
from db.tables import Job, JobEvent


@dataclass(frozen=True)
class TransitionStatement:
    """A change of status with its statement, which is built once because building costs more than running it."""

    before: JobStatus
    meaning: str
    statement: Executable
    rows: Prepared
    """The same without the ORM, whose objects cost more than the statement."""
    changed: ReturningUpdate[Any]

    def with_history(self, others: Callable[[CTE], Sequence[UpdateBase]], lists: Sequence[str] = ()) -> Prepared:
        """Return the same as one statement with its events and with `others`, which take the changed rows, for Postgres.

        Each statement costs client and server more than what most of them do.
        """
        changed = self.changed.cte("changed")
        values = {
            "job_id": changed.c.id,
            "revision": changed.c.revision,
            "from_status": literal_column(f"'{self.before.value}'"),
            "to_status": changed.c.status,
            "attempt": changed.c.attempt,
            "worker": changed.c.worker,
            "message": literal(self.meaning, String()),
            "at": now(),
        }
        events = insert(core_table(JobEvent)).from_select([*values], select(*values.values()))
        parts = [each.cte(f"part_{number}") for number, each in enumerate((events, *others(changed)))]
        return Prepared(select(changed).add_cte(*parts), lists)


def build_transition(
    before: JobStatus,
    after: JobStatus,
    *conditions: ColumnElement[bool],
    values: Mapping[str, Any] | None = None,
    returning: Sequence[ColumnElement[Any]] = (),
    lists: Sequence[str] = (),
) -> TransitionStatement:
    """Build the change from `before` to `after` of every job that meets `conditions`, which may have parameters.

    `returning`: what `rows` returns of each besides the job's columns. `lists`: the parameters that are lists.
    """
    meaning = check_transition(before, after)
    changes = _standard_changes(after) | dict(values or {})
    table = core_table(Job)
    changed = (
        update(table)
        .where(has_status(before), *conditions)
        .values(status=after.value, revision=table.c.revision + 1, **changes)
    )
    jobs = select(Job).from_statement(changed.returning(table)).execution_options(populate_existing=True)
    rows = changed.returning(table, *returning)
    return TransitionStatement(before, meaning, jobs, Prepared(rows, lists), rows)


def apply_transition(
    session: Session,
    change: TransitionStatement,
    parameters: Mapping[str, Any] | None = None,
    *,
    code: str | None = None,
    message: str | None = None,
) -> list[Job]:
    """Apply the change and return the changed jobs, in no order; others had already left the `before` status."""
    jobs = list(session.scalars(change.statement, dict(parameters or {})))
    record_events(session, jobs, change.before, code=code, message=message or change.meaning)
    return jobs


def transition(
    session: Session,
    job_id: str,
    before: JobStatus,
    after: JobStatus,
    *conditions: ColumnElement[bool],
    values: Mapping[str, Any] | None = None,
    code: str | None = None,
    message: str | None = None,
) -> Job | None:
    """Change one job from `before` to `after`; None if it is not in `before` or does not meet `conditions`."""
    change = build_transition(before, after, Job.id == job_id, *conditions, values=values)
    return next(iter(apply_transition(session, change, code=code, message=message)), None)


def record_events(
    session: Transaction,
    jobs: Sequence[Job],
    before: JobStatus | None,
    *,
    code: str | None = None,
    message: str | None = None,
) -> None:
    """Write one event for each job."""
    rows = [
        {
            "job_id": values["id"],
            "revision": values["revision"],
            "from_status": before,
            "to_status": values["status"],
            "attempt": values["attempt"],
            "worker": values["worker"],
            "code": code,
            "message": message,
        }
        for values in map(_values_of, jobs)
    ]
    insert_rows(session, JobEvent, "at", rows)


def _values_of(job: Job) -> Mapping[str, Any]:
    """Return the values of a job's columns: attributes that the ORM watches are slow to read."""
    values = vars(job)
    return values if values.keys() >= _RECORDED else {name: getattr(job, name) for name in _RECORDED}


_RECORDED = frozenset(("id", "revision", "status", "attempt", "worker"))


def _standard_changes(after: JobStatus) -> dict[str, Any]:
    """Return the column values that follow from the new status alone."""
    if after is JobStatus.RUNNING:
        return {"error_code": None, "error_message": None}
    released: dict[str, Any] = {"lease_until": None, "hinted_at": None}
    if after is JobStatus.QUEUED:
        return released | {"worker": None, "completed_at": None}
    if after in SETTLED:
        return released | {"completed_at": now()}
    return released
