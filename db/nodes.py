"""The machines of a farm: groups of workers by the host that they report."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, literal, or_, select, update

from core.errors import NotFound
from db.database import Database
from db.quarantine import end_quarantine
from db.sql import RUNNING, now
from db.tables import Job, Worker, WorkerModel
from db.worker_models import LIVE_SECONDS


def host_of(worker: Worker) -> str:
    """Return the name of its machine; the worker's own name for versions that report none."""
    return worker.host or worker.name


_ENDED = or_(Worker.state.in_(("stopped", "failed")), Worker.seen_at <= now() - literal(LIVE_SECONDS))


def _is_on(host: str) -> ColumnElement[bool]:
    return func.coalesce(Worker.host, Worker.name) == literal(host)


def drain_node(database: Database, host: str) -> Sequence[Worker]:
    """Let all workers of a machine finish their jobs and claim no others, also after a restart. Raises NotFound."""
    return _set(database, host, {"paused_at": now()})


def resume_node(database: Database, host: str) -> Sequence[Worker]:
    """Let all workers of a machine claim jobs again, also those in quarantine. Raises NotFound."""
    return _set(database, host, {"paused_at": None, **end_quarantine()})


def remove_node(database: Database, host: str) -> tuple[list[str], list[str]]:
    """Return the workers that were asked to stop, and those that had ended and were deleted. Raises NotFound."""
    with database.write() as session:
        rows = session.execute(select(Worker.name, _ENDED).where(_is_on(host))).all()
        if not rows:
            raise _no_node(host)
        busy = set(session.scalars(select(Job.worker).where(RUNNING, Job.worker.in_([name for name, _ in rows]))))
        # The lease of a lost worker's job has not ended yet: its row goes once the reaper has requeued the job.
        ended = sorted(name for name, has_ended in rows if has_ended and name not in busy)
        stopping = sorted(name for name, has_ended in rows if not has_ended)
        session.execute(update(Worker).where(Worker.name.in_(stopping)).values(drain_requested_at=now()))
        session.execute(delete(WorkerModel).where(WorkerModel.worker.in_(ended)))
        session.execute(delete(Worker).where(Worker.name.in_(ended)))
    return stopping, ended


def _set(database: Database, host: str, values: dict[str, object]) -> Sequence[Worker]:
    with database.write() as session:
        statement = update(Worker).where(_is_on(host)).values(**values).returning(Worker)
        found = session.scalars(statement.execution_options(populate_existing=True)).all()
    if not found:
        raise _no_node(host)
    return sorted(found, key=lambda worker: worker.name)


def _no_node(host: str) -> NotFound:
    return NotFound(f"There is no machine '{host}': `imagefarm nodes list` shows them.", code="node_not_found")
