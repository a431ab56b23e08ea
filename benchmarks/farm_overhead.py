"""Measure the farm's overhead per job: from the HTTP request to the row in state succeeded, minus the pipeline's time.

A whole farm with the real engine on the demo model, one job at a time; `python -m benchmarks.engine --sizes --farm-jobs 50`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from benchmarks.faults.parts import FarmParts
from db.migrate import upgrade
from tests.servers.redis import RedisServer

SIDE, STEPS = 256, 8
WARM_UP_JOBS = 3
PIPELINE_TIMINGS = ("encode_seconds", "steps_seconds", "decode_seconds")


@dataclass(frozen=True)
class JobTimes:
    """Seconds of one job. `submit`: until the 202; `total`: until the row is succeeded; `pipeline`: as recorded."""

    submit: float
    total: float
    pipeline: float

    @property
    def added(self) -> float:
        return self.total - self.pipeline


def jobs_through_a_farm(jobs: int, directory: Path) -> list[JobTimes]:
    """Run jobs one after another over SQLite, each with a new prompt."""
    with _farm(directory) as farm, httpx.Client(base_url=farm.url, timeout=120) as client:
        for number in range(WARM_UP_JOBS):
            _time_job(client, f"warm-up {number}")
        return [_time_job(client, f"a lighthouse at dusk, no. {number}") for number in range(jobs)]


@contextmanager
def _farm(directory: Path) -> Iterator[FarmParts]:
    url = f"sqlite:///{directory / 'farm.db'}"
    upgrade(url)
    redis = RedisServer(directory / "redis").start()
    farm = FarmParts(directory / "farm", url, redis, settings={"IMAGEFARM_RENDERER": "diffusers"})
    try:
        yield farm.start()
        farm.stop()
    finally:
        farm.destroy()
        redis.stop()


def _time_job(client: httpx.Client, prompt: str) -> JobTimes:
    body = {"prompt": prompt, "width": SIDE, "height": SIDE, "num_inference_steps": STEPS, "seed": 1}
    started = time.time()  # The row's time is from the same machine's clock.
    accepted = client.post("/v1/jobs", json=body).raise_for_status().json()
    submitted = time.time() - started
    job = client.get(f"/v1/jobs/{accepted['id']}", params={"wait": 60}).raise_for_status().json()
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job is {job['status']}: {job['error']}")
    ended = datetime.fromisoformat(job["completed_at"]).timestamp()
    timings = client.get(f"/v1/images/{job['outputs'][0]['id']}").raise_for_status().json()["record"]["timings"]
    return JobTimes(submitted, ended - started, sum(timings[name] for name in PIPELINE_TIMINGS))
