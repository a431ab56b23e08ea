"""What a hint is, and how it is read from a message that anybody with access to the broker may have written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.json_text import parse_json
from core.queue import RENDER_TASK

MAX_DEFERRALS = 20
CONTENT_TYPE = "application/json"

_JOB_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_SHOWN_CHARS = 200


@dataclass(frozen=True)
class Hint:
    """A message that was sent for job `job_id`; `deferrals` counts how often busy workers have passed it on."""

    job_id: str
    deferrals: int = 0

    @property
    def may_be_deferred(self) -> bool:
        return self.deferrals < MAX_DEFERRALS

    def deferred(self) -> Hint:
        """Return this hint with one more deferral."""
        return replace(self, deferrals=self.deferrals + 1)


class MalformedHint(ValueError):
    """The message is no hint of this farm; the text says why."""


def read_hint(headers: object, content_type: object) -> Hint:
    """Return the hint that these parts of a message describe; its body is never decoded. Raises MalformedHint."""
    if content_type != CONTENT_TYPE:
        raise MalformedHint(f"refusing content of type {shown(content_type)}: only {CONTENT_TYPE} is accepted")
    if not isinstance(headers, Mapping):
        raise MalformedHint("it has no headers")
    if headers.get("task") != RENDER_TASK:
        raise MalformedHint(f"it names the task {shown(headers.get('task'))}, which this farm does not have")
    job_id, deferrals = headers.get("id"), headers.get("deferrals", 0)
    if not isinstance(job_id, str) or _JOB_ID.fullmatch(job_id) is None:
        raise MalformedHint(f"{shown(job_id)} is not the id of a job")
    if isinstance(deferrals, bool) or not isinstance(deferrals, int) or deferrals < 0:
        raise MalformedHint(f"{shown(deferrals)} is not a number of deferrals")
    return Hint(job_id, min(deferrals, MAX_DEFERRALS))


def read_raw_hint(raw: bytes) -> Hint:
    """Return the hint of an entry of kombu's Redis list. Raises MalformedHint."""
    try:
        envelope = parse_json(raw)
    except (ValueError, RecursionError) as error:
        raise MalformedHint("it is not JSON") from error
    if not isinstance(envelope, dict):
        raise MalformedHint("it is not a JSON object")
    return read_hint(envelope.get("headers"), envelope.get("content-type"))


def shown(value: object) -> str:
    """Return the start of a value's text, for a log."""
    text = ascii(value[:_SHOWN_CHARS] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
