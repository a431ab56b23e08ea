"""Audit the database, the image directory and the logs once all jobs have settled."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select

from benchmarks.faults.breaker import Kill
from core.lifecycle import SETTLED, TERMINAL
from db.database import Database
from db.tables import Attempt, Image, Job, JobEvent


@dataclass(frozen=True)
class Findings:
    """Counts that must be zero, and the cost of recovery."""

    accepted: int
    lost: int
    duplicate_image_rows: int
    missing_files: int
    duplicate_terminal_transitions: int
    jobs_in_two_terminal_states: int
    idempotency_violations: int
    held: int
    clashes_not_refused: int
    ended_with_status_zero: int
    statuses: dict[str, int]
    attempts: int
    wasted_attempts: int
    zombie_writes_refused: int
    recovery_p50_seconds: float | None
    recovery_worst_seconds: float | None
    recoveries: int

    def failures(self) -> dict[str, int]:
        """Return the counts that break a guarantee, if any."""
        must_be_zero = (
            "lost",
            "duplicate_image_rows",
            "missing_files",
            "duplicate_terminal_transitions",
            "jobs_in_two_terminal_states",
            "idempotency_violations",
            "held",
            "clashes_not_refused",
            "ended_with_status_zero",
        )
        return {name: count for name, count in asdict(self).items() if name in must_be_zero and count}


def wait_settled(database: Database, job_ids: list[str], seconds: float) -> None:
    """Return when every job has settled, or after that many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _unsettled(database, job_ids):
        time.sleep(0.5)


def audit(
    database: Database,
    is_stored: Callable[[str], bool],
    job_ids: list[str],
    kills: list[Kill],
    logs: list[Path],
    violations: int,
    clashes_not_refused: int = 0,
    ended_with_status_zero: int = 0,
) -> Findings:
    """Count all findings. Call it before the farm is stopped.

    `is_stored`: whether the file of a key is in the store. `job_ids`: the accepted jobs.
    """
    with database.read() as session:
        jobs = {job.id: job.status for job in session.scalars(select(Job))}
        images = session.scalars(select(Image)).all()
        ends = session.scalars(select(JobEvent).where(JobEvent.to_status.in_(TERMINAL))).all()
        attempts = session.scalars(select(Attempt)).all()
    ends_of: dict[str, list[str]] = defaultdict(list)
    for end in ends:
        ends_of[end.job_id].append(end.to_status)
    recovery = _recoveries(attempts, kills)
    return Findings(
        accepted=len(job_ids),
        lost=sum(jobs.get(job_id) != "succeeded" for job_id in job_ids),
        duplicate_image_rows=len(images) - len({(image.job_id, image.index) for image in images}),
        missing_files=sum(not is_stored(image.key) for image in images),
        duplicate_terminal_transitions=sum(len(found) - 1 for found in ends_of.values()),
        jobs_in_two_terminal_states=sum(len(set(found)) > 1 for found in ends_of.values()),
        idempotency_violations=violations + len(jobs) - len(set(job_ids)),
        held=sum(status == "held" for status in jobs.values()),
        clashes_not_refused=clashes_not_refused,
        ended_with_status_zero=ended_with_status_zero,
        statuses=dict(Counter(jobs.values())),
        attempts=len(attempts),
        wasted_attempts=sum(attempt.outcome != "succeeded" for attempt in attempts),
        zombie_writes_refused=sum(log.read_text().count(" refused: attempt") for log in logs if log.exists()),
        recovery_p50_seconds=round(statistics.median(recovery), 2) if recovery else None,
        recovery_worst_seconds=round(max(recovery), 2) if recovery else None,
        recoveries=len(recovery),
    )


def _unsettled(database: Database, job_ids: list[str]) -> int:
    with database.read() as session:
        settled = set(session.scalars(select(Job.id).where(Job.status.in_(SETTLED))))
    return len(set(job_ids) - settled)


def _recoveries(attempts: Sequence[Attempt], kills: list[Kill]) -> list[float]:
    """Return seconds from each kill or freeze of a worker to the next attempt of each job that it was running."""
    starts = {(attempt.job_id, attempt.number): attempt.started_at for attempt in attempts}
    found = []
    for kill in (kill for kill in kills if kill.fault in ("worker", "freeze")):
        for attempt in attempts:
            again = starts.get((attempt.job_id, attempt.number + 1))
            if again is not None and _held_at(attempt, kill):
                found.append(again - kill.at)
    return found


def _held_at(attempt: Attempt, kill: Kill) -> bool:
    """Return whether the killed worker was running this attempt at that moment and never finished it."""
    ended_later = attempt.ended_at is None or attempt.ended_at > kill.at
    running = attempt.worker == kill.part and attempt.started_at < kill.at and ended_later
    return running and attempt.outcome != "succeeded"
