"""A job's events, as the farm streams them (server-sent events)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.schemas.job import Job, JobHistoryEvent, Output, Progress


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
class Stored:
    """A finished image."""

    output: Output


@dataclass(frozen=True)
class Ended:
    """The whole job; the last event."""

    job: Job


JobEvent = StatusChanged | Progressed | Preview | Stored | Ended


@dataclass(frozen=True)
class Message:
    """One event as it came; `id` is the last one seen, for going on after a break."""

    name: str
    data: str
    id: str | None


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """Events of a stream's lines; comments and retry hints are passed over."""
    name, data, last_id = "message", list[str](), None
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Message(name, "\n".join(data), last_id)
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value


def event_of(message: Message) -> JobEvent | None:
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
    "output": lambda data: Stored(Output.model_validate_json(data)),
    "end": lambda data: Ended(Job.model_validate_json(data)),
}
