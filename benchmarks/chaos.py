"""Break a whole farm at random while jobs run, then count lost and duplicated work.

    python -m benchmarks.chaos --database sqlite --jobs 2000 --kills 200

Real API, Redis, reaper, three workers and SQLite or Postgres; only the images are synthetic. Exit status 1 when a
guarantee was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.faults.audit import Findings, audit, wait_settled
from benchmarks.faults.breaker import Breaker
from benchmarks.faults.parts import FarmParts, Launch, spawn
from benchmarks.faults.submitter import Submitter
from db.database import Database
from db.migrate import upgrade
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer


@dataclass(frozen=True)
class Plan:
    """Parameters of one run. A frozen worker sleeps past its lease."""

    database: str
    jobs: int
    kills: int
    seed: int
    workers: int = 3
    pause_seconds: float = 1.5
    per_second: float = 7.0
    steps: int = 4
    step_seconds: float = 0.1
    lease_seconds: float = 15.0
    heartbeat_seconds: float = 4.0
    settle_seconds: float = 180.0


@dataclass(frozen=True)
class Result:
    """Outcome of a run."""

    plan: Plan
    faults: dict[str, int]
    seconds: float
    submit_retries: int
    other_answers: list[str]
    findings: Findings


def run(plan: Plan, directory: Path, launch: Launch = spawn) -> Result:
    """Run the plan with all files under `directory`, then stop all processes."""
    postgres = PostgresServer(directory / "postgres").start() if plan.database == "postgres" else None
    url = postgres.create_database() if postgres else f"sqlite:///{directory / 'farm.db'}"
    upgrade(url)
    redis = RedisServer(directory / "redis").start()
    farm = FarmParts(directory / "farm", url, redis, plan.workers, _settings(plan), launch=launch)
    try:
        farm.link_storage()
        farm.start()
        return _break(plan, farm, postgres, url)
    finally:
        farm.stop()
        farm.destroy()
        redis.stop()
        if postgres:
            postgres.stop()


def _settings(plan: Plan) -> dict[str, str]:
    return {
        "IMAGEFARM_SYNTHETIC_STEP_SECONDS": str(plan.step_seconds),
        "IMAGEFARM_LEASE_SECONDS": str(plan.lease_seconds),
        "IMAGEFARM_HEARTBEAT_SECONDS": str(plan.heartbeat_seconds),
        # Far more faults per job than on any farm: the limit of attempts is tested elsewhere.
        "IMAGEFARM_MAX_ATTEMPTS": "50",
        "IMAGEFARM_WORKER_CAPACITY": "3",
    }


def _break(plan: Plan, farm: FarmParts, postgres: PostgresServer | None, url: str) -> Result:
    started = time.monotonic()
    submitter = Submitter(farm.url, plan.jobs, plan.per_second, plan.steps)
    breaker = Breaker(farm, random.Random(plan.seed), plan.kills, plan.pause_seconds, plan.lease_seconds + 3.0, postgres)
    threads = [submitter.start(), breaker.start()]
    for thread in threads:
        thread.join()
    database = Database(url)
    job_ids = list(submitter.accepted.values())
    wait_settled(database, job_ids, plan.settle_seconds)
    findings = audit(
        database,
        lambda key: (farm.images_dir / key).is_file(),
        job_ids,
        breaker.kills,
        [part.log for part in farm.worker_parts()],
        submitter.conflicting_answers,
        breaker.clashes_not_refused,
        breaker.ended_with_status_zero,
    )
    database.dispose()
    seconds = round(time.monotonic() - started, 1)
    return Result(plan, breaker.summary(), seconds, submitter.retries, submitter.other_answers[:5], findings)


def main() -> int:
    """Print the findings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause-seconds", type=float, default=1.5)
    parser.add_argument("--per-second", type=float, default=7.0)
    parser.add_argument("--keep", type=Path, help="keep logs and database in this directory")
    given = parser.parse_args()
    plan = Plan(given.database, given.jobs, given.kills, given.seed, 3, given.pause_seconds, given.per_second)
    with tempfile.TemporaryDirectory(prefix="imagefarm-chaos-") as temporary:
        result = run(plan, given.keep or Path(temporary))
    print(json.dumps(asdict(result), indent=2))
    broken = result.findings.failures()
    print("GUARANTEES BROKEN: " + json.dumps(broken) if broken else "all guarantees held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
