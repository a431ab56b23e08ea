"""The audit: what the database, the image directory and the logs say once everything has settled."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.faults.breaker import Kill
from core.lifecycle import SETTLED, TERMINAL
from db.database import Database
from db.tables import Attempt, Image, Job, JobEvent


@dataclass(frozen=True)
class Findings:
    """Everything that must be zero, and what it cost."""

    accepted: int
    lost: int
    duplicate_image_rows: int
    missing_files: int
    duplicate_terminal_transitions: int
    jobs_in_two_terminal_states: int
    idempotency_violations: int
    statuses: dict[str, int]
    attempts: int
    wasted_attempts: int
    zombie_writes_refused: int
    recovery_p50_seconds: float | None
    recovery_worst_seconds: float | None
    recoveries: int

    def failures(self) -> dict[str, int]:
        """The counts that break the promise, if any."""
        must_be_zero = (
            "lost",
            "duplicate_image_rows",
            "missing_files",
            "duplicate_terminal_transitions",
            "jobs_in_two_terminal_states",
            "idempotency_violations",
        )
        return {name: count for name, count in asdict(self).items() if name in must_be_zero and count}


def wait_settled(database: Database, job_ids: list[str], seconds: float) -> None:
    """Returns when every job has settled, or when the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _unsettled(database, job_ids):
        time.sleep(0.5)


def audit(
    database: Database, images_dir: Path, job_ids: list[str], kills: list[Kill], logs: list[Path], violations: int
) -> Findings:
    """Counts everything; `job_ids` are the accepted ones."""
    with database.read() as session:
        statuses = Counter({job_id: str(status) for job_id, status in session.execute(select(Job.id, Job.status)).tuples()})
        images = session.execute(select(Image.job_id, Image.index, Image.key)).tuples().all()
        terminal = (
            session.execute(
                select(JobEvent.job_id, JobEvent.to_status).where(
                    JobEvent.to_status.in_(TERMINAL), JobEvent.from_status != JobEvent.to_status
                )
            )
            .tuples()
            .all()
        )
        attempts = (
            session.execute(
                select(
                    Attempt.job_id, Attempt.number, Attempt.worker, Attempt.started_at, Attempt.ended_at, Attempt.outcome
                ).order_by(Attempt.job_id, Attempt.number)
            )
            .tuples()
            .all()
        )
    per_job: dict[str, list[str]] = defaultdict(list)
    for job_id, status in terminal:
        per_job[job_id].append(str(status))
    image_counts = Counter((job_id, index) for job_id, index, _ in images)
    recovery = _recoveries(list(attempts), kills)
    return Findings(
        accepted=len(job_ids),
        lost=sum(statuses.get(job_id) != "succeeded" for job_id in job_ids),
        duplicate_image_rows=sum(count - 1 for count in image_counts.values()),
        missing_files=sum(not (images_dir / key).is_file() for *_, key in images),
        duplicate_terminal_transitions=sum(len(ends) - 1 for ends in per_job.values()),
        jobs_in_two_terminal_states=sum(len(set(ends)) > 1 for ends in per_job.values()),
        idempotency_violations=violations + len(statuses) - len(set(job_ids)),
        statuses=dict(Counter(statuses.values())),
        attempts=len(attempts),
        wasted_attempts=sum(outcome != "succeeded" for *_, outcome in attempts),
        zombie_writes_refused=sum(log.read_text().count(" refused: attempt") for log in logs if log.exists()),
        recovery_p50_seconds=round(statistics.median(recovery), 2) if recovery else None,
        recovery_worst_seconds=round(max(recovery), 2) if recovery else None,
        recoveries=len(recovery),
    )


def _unsettled(database: Database, job_ids: list[str]) -> int:
    with database.read() as session:
        settled = session.scalar(select(func.count()).select_from(Job).where(Job.status.in_(SETTLED))) or 0
    return max(len(job_ids) - settled, 0)


def _recoveries(attempts: list[tuple[str, int, str, float, float | None, str | None]], kills: list[Kill]) -> list[float]:
    """Seconds from the kill of a worker to the next attempt of each job that it held then."""
    starts = {(job_id, number): started for job_id, number, _, started, _, _ in attempts}
    found = []
    for kill in kills:
        if kill.fault not in ("worker", "freeze"):
            continue
        for job_id, number, worker, started, ended, outcome in attempts:
            held = worker == kill.part and started < kill.at and (ended is None or ended > kill.at)
            again = starts.get((job_id, number + 1))
            if held and outcome != "succeeded" and again is not None:
                found.append(again - kill.at)
    return found
