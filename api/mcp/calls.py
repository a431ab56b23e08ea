"""Calls of the HTTP API by the tools, and the progress that they report while they wait for a job."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

_POLL_SECONDS = 1
_MOST_INLINE_BYTES = 700_000
"""Size of a file above which an image is sent reduced: clients take about a megabyte of base64 in one answer."""
_REDUCED_SIDE = 1024
_SETTLED = ("succeeded", "failed", "canceled", "expired", "held")

Body = dict[str, Any]


class Refused(Exception):
    """The farm refused a call; the text says why and what to do."""


class Reporter(Protocol):
    """Takes the progress of a job."""

    def __call__(self, progress: float, total: float | None = None, message: str | None = None) -> Awaitable[None]:
        """Report `progress` of `total`, with a sentence."""


@dataclass(frozen=True)
class InlineImage:
    """An image in an answer."""

    data: bytes
    media_type: str
    url: str


@dataclass(frozen=True)
class FarmCalls:
    """The API, reached through `http`, which sends the caller's key. Links in answers become whole URLs under `origin`."""

    http: httpx.AsyncClient
    origin: str

    async def get(self, path: str, **query: str | int) -> Body:
        """Return a JSON answer. Raises Refused."""
        return await self._json(self.http.get(path, params=query))

    async def post(self, path: str, body: Mapping[str, Any]) -> Body:
        """Send JSON and return the answer. Raises Refused."""
        return await self._json(self.http.post(path, json={key: value for key, value in body.items() if value is not None}))

    async def upload(self, data: bytes) -> str:
        """Upload an image and return its id. Raises Refused."""
        kind = "image/jpeg" if data.startswith(b"\xff\xd8") else "image/webp" if data[8:12] == b"WEBP" else "image/png"
        answer = await self._json(self.http.post("/v1/uploads", content=data, headers={"Content-Type": kind}))
        return str(answer["id"])

    async def _json(self, sending: Awaitable[httpx.Response]) -> Body:
        answer = await self._answer(sending)
        body: Body = answer.json()
        return body

    async def _answer(self, sending: Awaitable[httpx.Response]) -> httpx.Response:
        try:
            answer = await sending
        except httpx.HTTPError as error:
            raise Refused(f"The farm at {self.origin} does not answer ({type(error).__name__}). Is it running?") from error
        if answer.is_success:
            return answer
        try:
            problem = answer.json()
            raise Refused(f"{problem['detail']} ({problem['code']})")
        except (ValueError, KeyError, TypeError):
            raise Refused(f"The farm answered {answer.status_code}.") from None

    async def wait(self, job: Body, seconds: float, report: Reporter) -> Body:
        """Return the job once it has settled, or as it is after `seconds`; report its steps meanwhile."""
        end = time.monotonic() + seconds
        last: tuple[float, str] = (-1.0, "")
        while job["status"] not in _SETTLED and time.monotonic() < end:
            job = await self.get(f"/v1/jobs/{job['id']}", wait=_POLL_SECONDS)
            shown = _progress(job)
            if shown[0] > last[0] or shown[1] != last[1]:
                await report(max(shown[0], last[0], 0.0), 1.0, shown[1])
                last = max(shown[0], last[0]), shown[1]
        return job

    async def inline_images(self, job: Body) -> list[InlineImage]:
        """Return the images of a job, as JPEG where the file fits, else reduced."""
        found = []
        for output in job["outputs"]:
            answer = await self._answer(self.http.get(f"/v1/images/{output['id']}/content", params={"format": "jpeg"}))
            if len(answer.content) > _MOST_INLINE_BYTES:
                path = f"/v1/images/{output['id']}/thumbnail"
                answer = await self._answer(self.http.get(path, params={"size": _REDUCED_SIDE}))
            kind = answer.headers["content-type"].partition(";")[0]
            found.append(InlineImage(answer.content, kind, self.url(output["content_url"])))
        return found

    def url(self, path: str) -> str:
        """Return a link of an answer as a whole URL."""
        return path if "://" in path else self.origin + path


def _progress(job: Body) -> tuple[float, str]:
    progress = job.get("progress")
    if job["status"] == "running" and progress:
        return float(progress["value"]), f"step {progress['step']} of {progress['steps']}"
    queue = job.get("queue")
    if job["status"] == "queued" and queue and queue.get("position"):
        return 0.0, f"queued, position {queue['position']}"
    return (1.0 if job["status"] == "succeeded" else 0.0), str(job["status"])


def summary(job: Body, calls: FarmCalls) -> Body:
    """Return what an assistant needs to know about a job."""
    found: Body = {
        "job_id": job["id"],
        "status": job["status"],
        "model": job["model"],
        "images": [
            {
                "image_id": output["id"],
                "url": calls.url(output["content_url"]),
                "width": output["width"],
                "height": output["height"],
                "seed": output["seed"],
            }
            for output in job["outputs"]
        ],
    }
    for name in ("warnings", "notice", "error"):
        if job.get(name):
            found[name] = job[name]
    if job.get("progress"):
        found["progress"] = job["progress"]["value"]
    return found


Connect = Callable[[Any], FarmCalls]
"""Returns the calls for one use of a tool, from its request context."""
