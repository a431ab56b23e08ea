"""Parse a job's server-sent events, follow them across reconnects, and wait for a job's end."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from core.errors import FarmError, TooManyRequests, Unavailable
from core.lifecycle import SETTLED, JobStatus
from core.schemas.jobs import Job, JobHistoryEvent, Output, Progress
from imagefarm.errors import WaitTimeout, not_a_farm
from imagefarm.transport import Transport


@dataclass(frozen=True)
class StatusChanged:
    """A new entry of the job's history."""

    change: JobHistoryEvent


@dataclass(frozen=True)
class Progressed:
    """The latest progress."""

    progress: Progress


@dataclass(frozen=True)
class Preview:
    """A small, unfinished version of image `index` of the job."""

    index: int
    media_type: str
    image: bytes


@dataclass(frozen=True)
class ImageStored:
    """An image that the farm has stored."""

    output: Output


@dataclass(frozen=True)
class Ended:
    """The last event, with the whole job."""

    job: Job


JobEvent = StatusChanged | Progressed | Preview | ImageStored | Ended


def event_of(message: ServerSentEvent) -> JobEvent | None:
    """Return the typed event; None for comments, retry hints and types that this version does not know.

    Raises ValueError or KeyError when the data cannot be parsed.
    """
    parse = _PARSERS.get(message.event)
    return parse(message.data) if parse is not None and message.data else None


def _preview(data: str) -> Preview:
    fields = json.loads(data)
    return Preview(int(fields["index"]), str(fields["media_type"]), base64.b64decode(fields["data"]))


_PARSERS: dict[str, Callable[[str], JobEvent]] = {
    "status": lambda data: StatusChanged(JobHistoryEvent.model_validate_json(data)),
    "progress": lambda data: Progressed(Progress.model_validate_json(data)),
    "preview": _preview,
    "output": lambda data: ImageStored(Output.model_validate_json(data)),
    "end": lambda data: Ended(Job.model_validate_json(data)),
}


QUIET_WAIT_SECONDS = 20.0
RUNNING_WAIT_SECONDS = 0.4
QUEUED_WAIT_SECONDS = 1.0
STEADY_SECONDS = 5.0
"""A stream that stayed open this long and carried bytes was connected to a farm that works."""


def wait_until_settled(
    transport: Transport, path: str, timeout_seconds: float | None, on_progress: Callable[[Job], None] | None
) -> Job:
    """Poll until the job has ended, with requests that the farm holds until a change; see `ImageFarm.wait`."""
    end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    job, tag = _poll(transport, path, 0.0, "")
    while True:
        if job is not None:
            latest = job
            if on_progress is not None:
                on_progress(job)
            if job.status in SETTLED:
                return job
        remaining = float("inf") if end is None else end - time.monotonic()
        if remaining <= 0:
            raise WaitTimeout(
                f"Job {latest.id} was still {latest.status} after {timeout_seconds:g} s; it continues on the farm."
            )
        pause = _pause(latest.status) if on_progress is not None else QUIET_WAIT_SECONDS
        job, tag = _poll(transport, path, min(pause, remaining), tag if on_progress is not None else "")


def _pause(status: JobStatus) -> float:
    return RUNNING_WAIT_SECONDS if status is JobStatus.RUNNING else QUEUED_WAIT_SECONDS


def _poll(transport: Transport, path: str, seconds: float, tag: str) -> tuple[Job | None, str]:
    """Return the job and its ETag; None for the job when it has not changed since `tag`."""
    headers = {"If-None-Match": tag} if tag else {}
    response = transport.send("GET", path, params={"wait": round(seconds, 3)}, headers=headers, wait_seconds=seconds)
    if response.status_code == httpx.codes.NOT_MODIFIED:
        return None, tag
    return transport.parse(Job, response), response.headers.get("etag", "")


def follow(transport: Transport, path: str, *, previews: bool) -> Iterator[JobEvent]:
    """Yield events until the job's end.

    Reconnects with the id of the last event, so that the farm resends every later change of status, and none twice.
    """
    params = {"previews": "true"} if previews else {}
    stream = _EventStream(transport, path, params)
    retry_budget = transport.retry_budget()
    while True:
        connected_at = time.monotonic()
        try:
            for event in stream.connect():
                retry_budget = transport.retry_budget()
                yield event
                if isinstance(event, Ended):
                    return
            if stream.nothing_left:
                return
            failure: FarmError = Unavailable(f"The farm at {transport.url} closed the event stream before the job ended.")
            pause = None
        except httpx.TransportError as error:
            failure, pause = transport.failure_of(error, retry_budget), None
        except (Unavailable, TooManyRequests) as error:
            failure, pause = error, error.retry_after
        if stream.received_bytes and time.monotonic() - connected_at >= STEADY_SECONDS:
            # Keep-alives came although no event did, such as for a queued job: the farm is unavailable only from now on.
            retry_budget = transport.retry_budget()
        retry_budget.sleep_or_raise(failure, pause)


class _EventStream:
    """The event stream of one job over several connections."""

    def __init__(self, transport: Transport, path: str, params: dict[str, str]) -> None:
        self._transport = transport
        self._path = path
        self._params = params
        self._last_id = ""
        self.received_bytes = 0
        """Bytes of the latest connection's body, comments included."""
        self.nothing_left = False
        """Whether the farm answered that no event follows the last one."""

    def connect(self) -> Iterator[JobEvent]:
        """Yield the events of one connection."""
        self.received_bytes = 0
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self._last_id} if self._last_id else {})
        with self._transport.stream(self._path, self._params, headers) as response:
            self.nothing_left = response.status_code == httpx.codes.NO_CONTENT
            if self.nothing_left:
                return
            try:
                for message in EventSource(response).iter_sse():
                    self._last_id = message.id or self._last_id
                    event = self._parse(message)
                    if event is not None:
                        yield event
            except SSEError as error:
                raise not_a_farm(self._transport.url, "it does not answer with an event stream") from error
            finally:
                self.received_bytes = response.num_bytes_downloaded

    def _parse(self, message: ServerSentEvent) -> JobEvent | None:
        try:
            return event_of(message)
        except (ValueError, KeyError) as error:
            raise not_a_farm(self._transport.url, f"its event '{message.event}' cannot be parsed") from error
