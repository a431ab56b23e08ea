"""A plain HTTP client with the few calls that these tests make."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx

Job = dict[str, Any]
LONGEST_POLL_SECONDS = 1.0
"""A change that the API does not hear of, without Redis for instance, is seen at the next poll."""


class Client:
    """A client of one farm's API."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=120)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.http.close()

    def submit(self, prompt: str = "a cat", **fields: object) -> Job:
        """Submit a job, by default 64 px and two steps, and return it."""
        body = {"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 2, "seed": 1, **fields}
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        job: Job = answer.json()
        return job

    def job(self, job_id: str) -> Job:
        """Return the job."""
        return self._read(job_id)[0]

    def _read(self, job_id: str) -> tuple[Job, str]:
        return _read_answer(self.http.get(f"/v1/jobs/{job_id}"))

    def wait(self, job_id: str, *statuses: str, seconds: float = 300.0) -> Job:
        """Wait until the job has one of these statuses and return it; each poll waits for the next change."""
        deadline = time.monotonic() + seconds
        job, tag = self._read(job_id)
        while job["status"] not in statuses:
            assert time.monotonic() < deadline, job
            params, headers = {"wait": LONGEST_POLL_SECONDS}, {"If-None-Match": tag}
            answer = self.http.get(f"/v1/jobs/{job_id}", params=params, headers=headers)
            if answer.status_code != httpx.codes.NOT_MODIFIED:
                job, tag = _read_answer(answer)
        return job

    def wait_for(self, job_id: str, reached: Callable[[Job], bool], seconds: float = 300.0) -> Job:
        """Wait until `reached` returns true for the job and return it; AssertionError with the job after `seconds`."""
        deadline = time.monotonic() + seconds
        while not reached(job := self.job(job_id)):
            assert time.monotonic() < deadline, job
            time.sleep(0.05)
        return job

    def post(self, path: str) -> Job:
        """Run an action on a job and return the job."""
        answer = self.http.post(path)
        assert answer.is_success, answer.text
        job: Job = answer.json()
        return job


def _read_answer(answer: httpx.Response) -> tuple[Job, str]:
    """Return the job and its tag."""
    assert answer.status_code == httpx.codes.OK, answer.text
    job: Job = answer.json()
    return job, answer.headers["ETag"]


def wait_until(reached: Callable[[], object], seconds: float = 300.0, pause: float = 0.1) -> None:
    """Wait until `reached` returns something true; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(pause)
