"""Parse a job's events (server-sent events), follow them across reconnects, and wait for a job's end."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import httpx

from core.errors import TooManyRequests, Unavailable
from core.lifecycle import SETTLED, JobStatus
from core.schemas.jobs import Job, JobHistoryEvent, Output, Progress
from imagefarm.errors import WaitTimeout, not_a_farm
from imagefarm.transport import Transport


@dataclass(frozen=True)
class StatusChanged:
    """A row of the job's history."""

    change: JobHistoryEvent


@dataclass(frozen=True)
class Progressed:
    """The latest step."""

    progress: Progress


@dataclass(frozen=True)
class Preview:
    """A small picture of image `index` of the job, unfinished."""

    index: int
    media_type: str
    image: bytes


@dataclass(frozen=True)
class ImageStored:
    """A finished image."""

    output: Output


@dataclass(frozen=True)
class Ended:
    """The whole job; the last event."""

    job: Job


JobEvent = StatusChanged | Progressed | Preview | ImageStored | Ended


@dataclass(frozen=True)
class ServerSentEvent:
    """One event as it came; `id` is the last one seen, for going on after a break."""

    name: str
    data: str
    id: str | None


def parse_events(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """Events of a stream's lines; comments and retry hints are passed over."""
    name, data, last_id = "message", list[str](), None
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield ServerSentEvent(name, "\n".join(data), last_id)
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value


def event_of(message: ServerSentEvent) -> JobEvent | None:
    """The typed event; None for a kind that this version does not know. Raises ValueError when it makes no sense."""
    make = _MAKERS.get(message.name)
    return make(message.data) if make is not None else None


def _preview(data: str) -> Preview:
    told = json.loads(data)
    return Preview(int(told["index"]), str(told["media_type"]), base64.b64decode(told["data"]))


_MAKERS: dict[str, Callable[[str], JobEvent]] = {
    "status": lambda data: StatusChanged(JobHistoryEvent.model_validate_json(data)),
    "progress": lambda data: Progressed(Progress.model_validate_json(data)),
    "preview": _preview,
    "output": lambda data: ImageStored(Output.model_validate_json(data)),
    "end": lambda data: Ended(Job.model_validate_json(data)),
}


QUIET_WAIT_SECONDS = 20.0
RUNNING_WAIT_SECONDS = 0.4
QUEUED_WAIT_SECONDS = 1.0


def wait_until_settled(
    transport: Transport, path: str, timeout_seconds: float | None, on_progress: Callable[[Job], None] | None
) -> Job:
    """Long-polls: the farm answers at the job's end, and for `on_progress` at each change or after a moment."""
    end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    job, tag = _poll(transport, path, 0.0, "")
    while True:
        if job is not None:
            latest = job
            if on_progress is not None:
                on_progress(job)
            if job.status in SETTLED:
                return job
        left = float("inf") if end is None else end - time.monotonic()
        if left <= 0:
            raise WaitTimeout(f"Job {latest.id} was still {latest.status} after {timeout_seconds:g} s; it goes on.")
        pause = _pause(latest.status) if on_progress is not None else QUIET_WAIT_SECONDS
        job, tag = _poll(transport, path, min(pause, left), tag if on_progress is not None else "")


def _pause(status: JobStatus) -> float:
    return RUNNING_WAIT_SECONDS if status is JobStatus.RUNNING else QUEUED_WAIT_SECONDS


def _poll(transport: Transport, path: str, seconds: float, tag: str) -> tuple[Job | None, str]:
    """The job and its tag; None for the job when it is as it was at `tag`."""
    headers = {"If-None-Match": tag} if tag else {}
    response = transport.send("GET", path, params={"wait": round(seconds, 3)}, headers=headers, wait_seconds=seconds)
    if response.status_code == httpx.codes.NOT_MODIFIED:
        return None, tag
    return transport.parse(Job, response), response.headers.get("etag", "")


def follow(transport: Transport, path: str, *, previews: bool) -> Iterator[JobEvent]:
    """Events until the end; connects again with the last id, so that no change of status is missed or told twice."""
    params = {"previews": "true"} if previews else {}
    last_id: str | None = None
    retry_budget = transport.retry_budget()
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with transport.stream(path, params, headers) as response:
                for message in parse_events(response.iter_lines()):
                    retry_budget = transport.retry_budget()
                    last_id = message.id or last_id
                    event = _typed(transport, message)
                    if event is not None:
                        yield event
                    if isinstance(event, Ended):
                        return
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
            retry_budget.sleep_or_raise(
                Unavailable(f"The farm at {transport.url} ended the stream of events before the job did.")
            )
        except httpx.TransportError as error:
            transport.sleep_or_raise(retry_budget, error)
        except (Unavailable, TooManyRequests) as trouble:
            retry_budget.sleep_or_raise(trouble, trouble.retry_after)


def _typed(transport: Transport, message: ServerSentEvent) -> JobEvent | None:
    try:
        return event_of(message)
    except (ValueError, KeyError) as error:
        raise not_a_farm(transport.url, f"its event '{message.name}' does not read") from error
