"""Measure the cost of a deep queue: submit, claim, poll and finish at 1,000 and 1,000,000 rows, on SQLite and Postgres.

    python -m benchmarks.queue_depth [--database sqlite|postgres] [--rows 1000 1000000]

Two shapes of a million rows: a long history (all but 1,000 have ended) and a long queue (all are queued, of 1,000 owners).
The ratio of deep to shallow within one run is the result; milliseconds are this machine's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from db import workers
from db.database import Database
from db.jobs.claim import Claimant, claim_next
from db.jobs.read import get_job, queue_position
from db.jobs.submit import NewJob, submit
from db.jobs.succeed import finish_succeeded
from db.migrate import upgrade
from db.tables import Job
from tests.servers.postgres import PostgresServer

ROUNDS = 200
VERBS = ("submit", "poll", "claim", "finish")
OWNERS = 1000
QUEUED_IN_HISTORY = 1000
_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)",
    "postgresql": "WITH n AS (SELECT generate_series(1, :rows) AS i)",
}
_ID = {
    "sqlite": "printf('00000000-0000-7000-8000-%012d', i)",
    "postgresql": "'00000000-0000-7000-8000-' || lpad(i::text, 12, '0')",
}


def fill(database: Database, rows: int, queued: int, prompt: str = "'a cat'", stored: str = "'{}'") -> None:
    """Insert `rows` jobs of `demo` by 1,000 owners in turn: the last `queued` are waiting, the others have ended.

    `prompt` and `stored` (the column `input`) are SQL expressions of the job's number i.
    """
    dialect = database.url.get_backend_name()
    statement = f"""
        INSERT INTO jobs (id, owner, model, priority, turn, status, revision, attempt, max_attempts, attempts_free,
                          available_at, created_at, completed_at, prompt, input, requested, warnings)
        {_NUMBERS[dialect]}
        SELECT {_ID[dialect]}, 'owner' || (i % {OWNERS}), 'demo', 5, i / {OWNERS},
               CASE WHEN i > :ended THEN 'queued' ELSE 'succeeded' END, 1, 0, 3, 0,
               0, i, CASE WHEN i > :ended THEN NULL ELSE i END, {prompt}, {stored}, '{{}}', '[]' FROM n
    """  # noqa: S608 -- constants of the benchmarks
    with database.write() as session:
        session.execute(text(statement), {"rows": rows, "ended": rows - queued})
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))


class Shape:
    """A database of one depth, and the four calls that are timed on it."""

    def __init__(self, url: str, rows: int, queued: int) -> None:
        upgrade(url)
        self.database = Database(url)
        fill(self.database, rows, queued)
        workers.register(self.database, workers.Registration("w", "life", "demo", "cpu", 1))
        self._claimant = Claimant("w", "life", 600.0)
        self._new = NewJob("newcomer", "demo", "a cat", {"seed": 1}, window=32, max_queued=20_000)
        self._last = submit(self.database, self._new).job
        self._claimed: list[Job] = []

    def submit(self) -> None:
        submit(self.database, self._new)

    def poll(self) -> None:
        queue_position(self.database, get_job(self.database, self._last.id))

    def claim(self) -> None:
        job = claim_next(self.database, "demo", self._claimant)
        assert job is not None
        self._claimed.append(job)

    def finish(self) -> None:
        job = self._claimed.pop()
        finish_succeeded(self.database, job.id, job.attempt, [], {})


def measure(shapes: dict[str, Shape]) -> dict[str, dict[str, float]]:
    """Return median milliseconds by shape and verb; the shapes take turns, so that all share the machine's other load."""
    times: dict[str, dict[str, list[float]]] = {name: {verb: [] for verb in VERBS} for name in shapes}
    for verb in VERBS:
        for _ in range(ROUNDS):
            for name, shape in shapes.items():
                started = time.perf_counter()
                getattr(shape, verb)()
                times[name][verb].append((time.perf_counter() - started) * 1000)
    return {name: {verb: statistics.median(found) for verb, found in verbs.items()} for name, verbs in times.items()}


def main() -> int:
    """Print one table per database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"))
    parser.add_argument("--rows", type=int, nargs=2, default=(1000, 1_000_000))
    given = parser.parse_args()
    shallow, deep = given.rows
    for name in [given.database] if given.database else ["sqlite", "postgres"]:
        with tempfile.TemporaryDirectory(prefix="imagefarm-depth-") as directory:
            report(name, Path(directory), shallow, deep)
    return 0


def report(name: str, directory: Path, shallow: int, deep: int) -> None:
    """Measure the three shapes and print medians and ratios."""
    server = PostgresServer(directory / "pg").start() if name == "postgres" else None
    try:
        depths = {
            f"{shallow:,} rows": (shallow, shallow),
            f"{deep:,} rows, {QUEUED_IN_HISTORY:,} queued": (deep, QUEUED_IN_HISTORY),
            f"{deep:,} rows, all queued": (deep, deep),
        }
        shapes = {}
        for number, (shape, (rows, queued)) in enumerate(depths.items()):
            url = server.create_database() if server else f"sqlite:///{directory / f'{number}.db'}"
            shapes[shape] = Shape(url, rows, queued)
        results = measure(shapes)
        base = results[f"{shallow:,} rows"]
        print(f"\n{name}: median ms of {ROUNDS} calls (ratio to {shallow:,} rows)")
        for shape, found in results.items():
            cells = "  ".join(f"{verb} {ms:6.2f} ({ms / base[verb]:4.2f})" for verb, ms in found.items())
            print(f"  {shape:32} {cells}")
            shapes[shape].database.dispose()
    finally:
        if server:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
