"""What goes into a submit: a checked request, and a key that makes it safe to repeat."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.parameters import InvalidParameters
from core.schemas.job_request import JobRequest

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


def key_headers(idempotency_key: str | None) -> dict[str, str]:
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
