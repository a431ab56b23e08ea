"""Fill a database with the rows of a farm that has run for a year, within a few minutes for a million jobs."""

# ruff: noqa: S608 -- constants of the benchmarks

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.prompt_search import prompt_expression
from db.database import Database
from db.workers import Registration, heartbeat, register

DAYS = 365
ANONYMOUS, OTHERS = "anonymous", 9
"""The owner of every second job, and the number of the other owners."""
QUEUED, RUNNING, HELD = 300, 20, 20
"""Jobs that have not ended, whatever the number of rows, unless there are few rows."""
_SETTLED = "CASE WHEN i % 100 < 93 THEN 'succeeded' WHEN i % 100 < 97 THEN 'failed' ELSE 'expired' END"
"""No job is canceled: the list of canceled jobs finds nothing."""
_INPUT = (
    '{"width": 1024, "height": 1024, "num_inference_steps": 8, "guidance_scale": 0.0, "seed": 1, "num_images": 1, '
    '"scheduler": null, "negative_prompt": "", "strict": false, "prompt": "see the column"}'
)
_RECORD = '{"device": "cuda:0", "dtype": "bfloat16", "memory": "full", "versions": {"torch": "2.13.0"}, "batch_sizes": [4]}'
_ID = {
    "sqlite": "printf('%08x-%04x-7%03x-8{kind:03x}-%012x', {ms} >> 16, {ms} & 65535, ({i}) % 4096, {i})",
    "postgresql": (
        "lpad(to_hex({ms} >> 16), 8, '0') || '-' || lpad(to_hex({ms} & 65535), 4, '0') || '-7' || "
        "lpad(to_hex(({i}) % 4096), 3, '0') || '-8{kind:03x}-' || lpad(to_hex({i}), 12, '0')"
    ),
}
"""Ids of the form that core.ids makes, by the number i of the job that they belong to."""
_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})",
    "postgresql": "WITH n AS (SELECT generate_series(1, {rows}) AS i)",
}
_JOB, _IMAGE, _BATCH, _UPLOAD, _DELIVERY = range(1, 6)


@dataclass(frozen=True)
class FarmRows:
    """The rows of a farm: `jobs` in all with attempts, events and images, and a webhook message of every twentieth."""

    jobs: int

    @property
    def open(self) -> tuple[int, int, int]:
        """Numbers of queued, running and held jobs."""
        share = min(1.0, self.jobs / 10 / (QUEUED + RUNNING + HELD))
        return max(int(QUEUED * share), 1), max(int(RUNNING * share), 1), max(int(HELD * share), 1)

    def fill(self, database: Database) -> None:
        """Insert all rows; the tables must be empty."""
        statements = self._statements(database.url.get_backend_name())
        for statement in statements:
            with database.write() as session:
                session.execute(text(statement.replace(":", r"\:")))
        register(database, Registration("box-gpu", "run-1", "demo", "cuda:0", 4))
        heartbeat(database, "box-gpu", "run-1", state="ready")
        if not database.is_sqlite:  # as autovacuum does within a minute; SQLite keeps no statistics in a farm either
            with database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))

    def _statements(self, dialect: str) -> list[str]:
        step, now = DAYS * 86_400.0 / self.jobs, time.time()
        numbers = _NUMBERS[dialect].format(rows=self.jobs)

        def at(number: str = "i") -> str:
            return f"({now - DAYS * 86_400.0:f} + ({number}) * {step:f})"

        def id_of(kind: int, number: str = "i") -> str:
            return _ID[dialect].format(kind=kind, i=number, ms=f"CAST({at(number)} * 1000 AS BIGINT)")

        job, ended = id_of(_JOB), "status NOT IN ('queued', 'running')"
        return [
            self._jobs(numbers, job, at(), now),
            f"""INSERT INTO images (id, job_id, attempt, "index", owner, key, width, height, seed, format, bytes, sha256,
                                    record, rating, created_at)
                {numbers}
                SELECT {id_of(_IMAGE)}, jobs.id, 1, 0, owner,
                    '2026-01-01/' || substr(jobs.id, 35, 2) || '/' || jobs.id || '.1.0.png', 1024, 1024, 1, 'png', 1500000,
                    '{"0f" * 32}', '{_RECORD}', CASE WHEN i % 50 = 0 THEN 4 END, completed_at
                FROM n JOIN jobs ON jobs.id = {job} WHERE status = 'succeeded'""",
            """INSERT INTO attempts (job_id, number, worker, incarnation, started_at, ended_at, outcome)
               SELECT id, 1, worker, 'run-1', started_at, completed_at, status FROM jobs WHERE started_at IS NOT NULL""",
            *(
                f"""INSERT INTO job_events (job_id, revision, at, from_status, to_status, attempt)
                    SELECT id, {revision}, {moment}, {before}, {after}, {revision - 1} / 2 FROM jobs WHERE {which}"""
                for revision, moment, before, after, which in (
                    (1, "created_at", "NULL", "'queued'", "true"),
                    (2, "started_at", "'queued'", "'running'", "started_at IS NOT NULL"),
                    (3, "completed_at", "'running'", "status", ended),
                )
            ),
            f"""INSERT INTO batches (id, owner, name, total, requested, created_at)
                {numbers}
                SELECT {id_of(_BATCH)}, '{ANONYMOUS}', 'batch ' || i, 4, '{{}}', {at()} FROM n WHERE i % 100 = 0""",
            *(
                f"""INSERT INTO batch_jobs (batch_id, "index", job_id, axes)
                    {numbers}
                    SELECT {id_of(_BATCH)}, {index}, {id_of(_JOB, f"i - {index}")}, '{{}}' FROM n WHERE i % 100 = 0"""
                for index in range(4)
            ),
            f"""INSERT INTO uploads (id, owner, key, width, height, bytes, sha256, created_at)
                {numbers}
                SELECT {id_of(_UPLOAD)}, '{ANONYMOUS}', '2026-01-01/00/' || {id_of(_UPLOAD)} || '.1.0.png', 64, 64, 1000,
                    '{"0f" * 32}', {at()} FROM n WHERE i % 100 = 0""",
            f"""INSERT INTO webhook_deliveries (id, job_id, revision, target, owner, lane, url, host, event, status, tries,
                                                last_status, last_seconds, created_at, delivered_at)
                {numbers} SELECT {id_of(_DELIVERY)}, jobs.id, 3, 'settings', owner, 'target:settings', 'https://hook.example/',
                    'hook.example', 'job.succeeded', 'delivered', 1, 200, 0.1, completed_at, completed_at
                FROM n JOIN jobs ON jobs.id = {job} WHERE i % 20 = 0 AND {ended}""",
            """INSERT INTO usage_days (owner, day, part, jobs, images, pixels, render_seconds)
               SELECT owner, CAST(floor(completed_at / 86400) AS INTEGER), 0, count(*), count(*), count(*) * 1048576,
                   sum(completed_at - started_at)
               FROM jobs WHERE status = 'succeeded' GROUP BY 1, 2""",
        ]

    def _jobs(self, numbers: str, job: str, at: str, now: float) -> str:
        queued, running, held = self.open
        last = self.jobs - queued - running - held
        status = (
            f"CASE WHEN i > {self.jobs - queued} THEN 'queued' WHEN i > {self.jobs - queued - running} THEN 'running' "
            f"WHEN i > {last} THEN 'held' ELSE {_SETTLED} END"
        )
        owner = f"CASE WHEN i % 2 = 0 THEN '{ANONYMOUS}' ELSE 'owner' || (i / 2 % {OTHERS}) END"
        return f"""
            INSERT INTO jobs (id, owner, kind, model, priority, turn, status, revision, attempt, max_attempts, attempts_free,
                              available_at, worker, lease_until, created_at, started_at, completed_at, prompt, input,
                              requested, warnings, timings)
            {numbers}, stated AS (SELECT i, {at} AS at, {status} AS status FROM n)
            SELECT {job}, {owner}, 'render', CASE WHEN i % 50 = 7 THEN 'z-image-turbo' ELSE 'demo' END, 5, i / 10, status,
                CASE WHEN status = 'queued' THEN 1 WHEN status = 'running' THEN 2 ELSE 3 END,
                CASE WHEN status IN ('queued', 'expired') THEN 0 ELSE 1 END, 3, 0, at,
                CASE WHEN status = 'queued' THEN NULL ELSE 'box-gpu' END,
                CASE WHEN status = 'running' THEN {now + 86_400.0:f} END, at,
                CASE WHEN status IN ('queued', 'expired') THEN NULL ELSE at + 1 END,
                CASE WHEN status IN ('queued', 'running') THEN NULL ELSE at + 3 END,
                {prompt_expression()}, '{_INPUT}', '{{}}', '[]', '{{"rendering_seconds": 2.0}}' FROM stated
        """
