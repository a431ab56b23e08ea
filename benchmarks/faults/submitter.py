"""A persistent client: submits with Idempotency-Keys and retries until each job has been accepted."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import httpx


@dataclass
class Submitter:
    """Submits `count` jobs at `per_second` on its own thread; `accepted` maps key to job id."""

    url: str
    count: int
    per_second: float
    steps: int
    accepted: dict[str, str] = field(default_factory=dict)
    conflicting_answers: int = 0
    retries: int = 0
    other_answers: list[str] = field(default_factory=list)
    prefix: str = "chaos"
    """Of the keys; those of two submitters of one farm must differ."""

    def start(self) -> threading.Thread:
        """Start; join the thread to wait until all jobs are accepted."""
        thread = threading.Thread(target=self._run, name="submitter")
        thread.start()
        return thread

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=10) as client:
            for number in range(self.count):
                started = time.monotonic()
                self._submit(client, number)
                time.sleep(max(0.0, 1 / self.per_second - (time.monotonic() - started)))

    def _submit(self, client: httpx.Client, number: int) -> None:
        key = f"{self.prefix}-{number}"
        body = {"prompt": f"job {number}", "width": 64, "height": 64, "num_inference_steps": self.steps, "seed": number}
        headers = {"Idempotency-Key": key, "X-Client-Label": f"owner{number % 5}"}
        sends = 2 if number % 10 == 0 else 1
        while sends:
            try:
                answer = client.post("/v1/jobs", json=body, headers=headers)
            except httpx.HTTPError:
                self.retries += 1
                time.sleep(random.uniform(0.1, 0.4))
                continue
            if answer.status_code in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS):
                self.retries += 1
                time.sleep(0.3)
                continue
            sends -= 1
            self._note(key, answer)

    def _note(self, key: str, answer: httpx.Response) -> None:
        if answer.status_code != httpx.codes.ACCEPTED:
            self.other_answers.append(f"{answer.status_code}: {answer.text[:200]}")
            return
        job_id = answer.json()["id"]
        if self.accepted.setdefault(key, job_id) != job_id:
            self.conflicting_answers += 1
