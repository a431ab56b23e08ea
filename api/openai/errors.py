"""Errors in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from api.problems import MEDIA_TYPE, headers_of, problem_of, status_of
from api.public_address import link
from api.submission import StillRunning
from core.errors import FarmError, InvalidInput, RenderError

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
    }
)
_NEVER_RETRY: Mapping[str, str] = MappingProxyType({"x-should-retry": "false"})
"""OpenAI's clients retry on 5xx and 409, which would render the image a second time."""
OTHER_PATHS = tuple(
    f"/v1/{name}"
    for name in (
        *("assistants", "audio", "chat", "completions", "embeddings", "engines", "files", "fine_tuning"),
        *("moderations", "realtime", "responses", "threads", "vector_stores", "videos"),
    )
)
"""Addresses of OpenAI that are not served: their clients read the reason in OpenAI's shape."""


def openai_status(error: FarmError) -> int:
    """Return the status that OpenAI uses: 400 for invalid input, 404 for an unknown model."""
    if error.code == "unknown_model":
        return 404
    status = 504 if isinstance(error, StillRunning) else status_of(error)
    return 400 if isinstance(error, InvalidInput) and status == 422 else status


def error_body(error: FarmError) -> dict[str, Any]:
    """Return the object under `error`: message, type, param, code."""
    status = openai_status(error)
    field = getattr(error, "field", None)
    body: dict[str, Any] = {
        "message": error.message,
        "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": "n" if field == "num_images" else field,
        "code": error.code,
    }
    if isinstance(error, StillRunning):
        body |= {"job_id": error.job.id, "job_url": link(f"/v1/jobs/{error.job.id}")}
    return body


def openai_error(error: FarmError, request: Request) -> Response:
    """Return `{"error": {"message", "type", "param", "code"}}`."""
    status, body = openai_status(error), error_body(error)
    headers = headers_of(error)
    if "job_url" in body:
        headers["Location"] = body["job_url"]
    if isinstance(error, StillRunning | RenderError) or status == 409:
        headers |= _NEVER_RETRY
    return JSONResponse({"error": body}, status, headers=headers)


def problem_with_openai_error(error: FarmError, request: Request) -> Response:
    """Return the native API's problem document with OpenAI's `error` added, at addresses that both kinds of client read."""
    problem = problem_of(error, request)
    body = problem.model_dump(mode="json", exclude_none=True) | {"error": error_body(error)}
    return Response(json.dumps(body), problem.status, headers=headers_of(error), media_type=MEDIA_TYPE)
