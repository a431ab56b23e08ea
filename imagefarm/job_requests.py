"""Build job requests, their idempotency headers, and image uploads."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.errors import InvalidInput
from core.parameters import InvalidParameters
from core.schemas.jobs import JobRequest

SUBMIT_PATH = "/v1/jobs"


def request_of(request: JobRequest | str, fields: dict[str, Any]) -> JobRequest:
    """A JobRequest of a prompt and fields, or the given one. Raises InvalidParameters naming every field at fault."""
    if isinstance(request, JobRequest):
        return request_from(request.as_sent() | fields) if fields else request
    return request_from({"prompt": request, **fields})


def request_from(fields: dict[str, Any]) -> JobRequest:
    """A JobRequest of fields by their names or aliases."""
    try:
        return JobRequest.model_validate(fields)
    except ValidationError as error:
        raise InvalidParameters(problems_of(error, JobRequest)) from error


def idempotency_headers(idempotency_key: str | None) -> dict[str, str]:
    """The header that has the farm take a repeated submit for one."""
    return {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}


def problems_of(error: ValidationError, kind: type[BaseModel]) -> list[tuple[str, str]]:
    """(field, what to do) of everything that pydantic found."""
    return [_problem(item, kind) for item in error.errors()]


def _problem(item: ErrorDetails, kind: type[BaseModel]) -> tuple[str, str]:
    field = ".".join(str(part) for part in item["loc"]) or "request"
    if item["type"] == "extra_forbidden" and len(item["loc"]) == 1:
        return field, f"is no field of this request; there are: {', '.join(kind.model_fields)}."
    return field, f"{item['msg'].removeprefix('Value error, ')} (it was {item['input']!r})."


_STARTS = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def read_image_file(path: Path) -> bytes:
    """A file's content. Raises InvalidInput when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"'{path}' cannot be read: {error.strerror or error}.", code="unreadable_file") from error


def media_type(data: bytes) -> str:
    """By the first bytes; the farm looks at all of them. Raises InvalidInput `image_format` for another kind of file."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    raise InvalidInput("This is not a PNG, JPEG or WebP picture.", code="image_format")
