"""What goes into a submit: a checked request, and a key that makes it safe to repeat."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import ValidationError

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
        raise InvalidParameters([_problem(item) for item in error.errors()]) from error


def key_headers(idempotency_key: str | None) -> dict[str, str]:
    """The header that has the farm take a repeated submit for one."""
    return {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}


def _problem(item: Any) -> tuple[str, str]:  # noqa: ANN401 -- pydantic's ErrorDetails
    field = ".".join(str(part) for part in item["loc"]) or "request"
    if item["type"] == "extra_forbidden":
        return field, f"is no field of a job; there are: {', '.join(JobRequest.model_fields)}."
    return field, f"{item['msg'].removeprefix('Value error, ')} (it was {item['input']!r})."
