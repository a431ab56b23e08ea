"""Submit jobs over HTTP and wait for their states."""

from __future__ import annotations

import time
from typing import Any

import httpx

SETTLED = {"succeeded", "failed", "canceled", "expired", "held"}


def submit(api: str, **job: object) -> dict[str, Any]:
    """Submit a job and return it."""
    answer = httpx.post(f"{api}/v1/jobs", json=job, timeout=30)
    assert answer.status_code == 202, answer.text
    job_view: dict[str, Any] = answer.json()
    return job_view


def wait_settled(api: str, job_id: str, seconds: float = 300.0) -> dict[str, Any]:
    """Return the job once it has settled; uses long polls, no sleeps."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job: dict[str, Any] = httpx.get(f"{api}/v1/jobs/{job_id}", params={"wait": 10}, timeout=60).json()
        if job["status"] in SETTLED:
            return job
    raise AssertionError(f"job {job_id} is still {job['status']} after {seconds} s: {job}")


def wait_started(api: str, job_id: str, seconds: float = 300.0) -> None:
    """Return once the job is no longer queued; each poll waits for the next change."""
    deadline = time.monotonic() + seconds
    headers: dict[str, str] = {}
    while time.monotonic() < deadline:
        parameters = {"wait": 10} if headers else {}  # Without a tag the poll would wait for the end.
        answer = httpx.get(f"{api}/v1/jobs/{job_id}", params=parameters, headers=headers, timeout=60)
        if answer.status_code == 200 and answer.json()["status"] != "queued":
            return
        headers = {"If-None-Match": answer.headers["etag"]}
    raise AssertionError(f"job {job_id} did not start within {seconds} s")


def wait_in_flower(flower: str, task_id: str, state: str, seconds: float = 300.0) -> dict[str, Any]:
    """Return the task once Flower shows it in `state`; Flower receives events a moment later."""
    deadline = time.monotonic() + seconds
    while True:
        answer = httpx.get(f"{flower}/api/task/info/{task_id}")
        if answer.status_code == 200 and answer.json()["state"] == state:
            task: dict[str, Any] = answer.json()
            return task
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
