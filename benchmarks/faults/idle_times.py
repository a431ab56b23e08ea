"""How long a worker had nothing to do although a job waited, from the rows of jobs' events and attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from sqlalchemy import select

from db.database import Database
from db.tables import Attempt, JobEvent

Span = tuple[float, float]
"""Start and end, in seconds since 1970 of the database's clock."""


def longest_idle_seconds(
    database: Database, workers: Collection[str], within: Span, excused: Mapping[str, Span] = MappingProxyType({})
) -> dict[str, float]:
    """Return, for each worker, the longest time in which it held no job while at least one job waited all the time.

    `excused`: by worker, a time that does not count, such as that in which it was replaced.
    """
    with database.read() as session:
        events = session.execute(select(JobEvent.job_id, JobEvent.to_status, JobEvent.at).order_by(JobEvent.id)).all()
        attempts = session.execute(select(Attempt.worker, Attempt.started_at, Attempt.ended_at)).all()
    waiting = join_spans(_waiting_spans(((row.job_id, row.to_status, row.at) for row in events), within[1]))
    busy: dict[str, list[Span]] = defaultdict(list)
    for row in attempts:
        busy[row.worker].append((row.started_at, within[1] if row.ended_at is None else row.ended_at))
    for name, span in excused.items():
        busy[name].append(span)
    return {name: _longest(idle_spans(join_spans(busy[name]), within), waiting) for name in workers}


def _waiting_spans(events: Iterable[tuple[str, str, float]], end: float) -> list[Span]:
    """Return the times in which each job was queued."""
    since: dict[str, float] = {}
    found = []
    for job_id, status, at in events:
        if status == "queued":
            since.setdefault(job_id, at)
        elif job_id in since:
            found.append((since.pop(job_id), at))
    return [*found, *((start, end) for start in since.values())]


def join_spans(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans, in order and without overlaps."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def idle_spans(busy: list[Span], within: Span) -> list[Span]:
    """Return the parts of `within` that no span of `busy` covers."""
    found, at = [], within[0]
    for start, end in busy:
        if end <= at:
            continue
        if start >= within[1]:
            break
        if start > at:
            found.append((at, start))
        at = end
    return [*found, (at, within[1])] if at < within[1] else found


def _longest(first: list[Span], second: list[Span]) -> float:
    """Return the longest overlap of a span of the one with a span of the other, 0 without any."""
    overlaps = (min(a[1], b[1]) - max(a[0], b[0]) for a in first for b in second)
    return round(max([0.0, *overlaps]), 2)
