"""Waiting for a job's end, and following its events through broken connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx

from client.errors import WaitTimeout, not_a_farm
from client.events import Ended, JobEvent, Message, event_of, messages
from client.transport import Transport
from core.errors import TooManyRequests, Unavailable
from core.lifecycle import SETTLED, JobStatus
from core.schemas.job import Job

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
    patience = transport.patience()
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with transport.stream(path, params, headers) as response:
                for message in messages(response.iter_lines()):
                    patience = transport.patience()
                    last_id = message.id or last_id
                    event = _typed(transport, message)
                    if event is not None:
                        yield event
                    if isinstance(event, Ended):
                        return
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
            patience.bear(Unavailable(f"The farm at {transport.url} ended the stream of events before the job did."))
        except httpx.TransportError as error:
            transport.bear(patience, error)
        except (Unavailable, TooManyRequests) as trouble:
            patience.bear(trouble, trouble.retry_after)


def _typed(transport: Transport, message: Message) -> JobEvent | None:
    try:
        return event_of(message)
    except (ValueError, KeyError) as error:
        raise not_a_farm(transport.url, f"its event '{message.name}' does not read") from error
