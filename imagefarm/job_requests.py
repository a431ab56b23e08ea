"""Build job requests, their idempotency headers, and image uploads."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.errors import InvalidInput
from core.parameters import InvalidParameters
from core.schemas.batches import JOB_FIELD, is_job_field
from core.schemas.jobs import JobRequest
from core.schemas.refine import RefineRequest

SUBMIT_PATH = "/v1/jobs"


def request_of(request: JobRequest | str, fields: dict[str, Any]) -> JobRequest:
    """Return a JobRequest from a prompt and fields, or the given one. Raises InvalidParameters naming every wrong field."""
    if isinstance(request, JobRequest):
        return request_from(request.as_sent() | fields) if fields else request
    return request_from({"prompt": request, **fields})


def request_from(fields: dict[str, Any]) -> JobRequest:
    """Return a JobRequest from fields by name or alias. Raises InvalidParameters naming every wrong field."""
    try:
        return JobRequest.model_validate(fields)
    except ValidationError as error:
        raise InvalidParameters(problems_of(error, JobRequest)) from error


def refine_request_from(fields: dict[str, Any]) -> RefineRequest:
    """Return a RefineRequest from fields by name or alias. Raises InvalidParameters naming every wrong field."""
    try:
        return RefineRequest.model_validate(fields)
    except ValidationError as error:
        raise InvalidParameters(problems_of(error, RefineRequest)) from error


def idempotency_headers(idempotency_key: str | None) -> dict[str, str]:
    """Return the header by which the farm recognises a repeated submit."""
    return {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}


def problems_of(error: ValidationError, kind: type[BaseModel]) -> list[tuple[str, str]]:
    """Return (field, message) of every problem that pydantic found."""
    return [_problem(item, kind) for item in error.errors()]


def _problem(item: ErrorDetails, kind: type[BaseModel]) -> tuple[str, str]:
    field = ".".join(str(part) for part in item["loc"]) or "request"
    if item["type"] == "extra_forbidden" and len(item["loc"]) == 1:
        if is_job_field(field, kind):
            return field, JOB_FIELD
        return field, f"is not a field of this request; the fields are: {', '.join(kind.model_fields)}."
    return field, f"{item['msg'].removeprefix('Value error, ')} (got {item['input']!r})."


_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def read_image_file(path: Path) -> bytes:
    """Return a file's content. Raises InvalidInput `unreadable_file`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"Could not read '{path}': {error.strerror or error}.", code="unreadable_file") from error


def media_type(data: bytes, source: Path | bytes = b"") -> str:
    """Return the media type by the first bytes; the farm checks the whole file. Raises InvalidInput `image_format`.

    `source`: what the data was read from; a path is named in the error.
    """
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    what = f"'{source}'" if isinstance(source, Path) else "The file"
    raise InvalidInput(f"{what} is not a PNG, JPEG or WebP image.", code="image_format")
