"""Errors in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from api.problems import headers_of, status_of
from api.public_address import link
from api.submission import StillRunning
from core.errors import FarmError, InvalidInput, RenderError

_TYPES: Mapping[int, str] = MappingProxyType(
    {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
)
_NEVER_RETRY: Mapping[str, str] = MappingProxyType({"x-should-retry": "false"})
"""OpenAI's clients retry on 5xx and 409, which would render the image a second time."""


def openai_status(error: FarmError) -> int:
    """Return the status that OpenAI uses: 400 for invalid input, 404 for an unknown model."""
    if error.code == "unknown_model":
        return 404
    if isinstance(error, InvalidInput):
        return 400
    return 504 if isinstance(error, StillRunning) else status_of(error)


def openai_error(error: FarmError, request: Request) -> Response:
    """Return `{"error": {"message", "type", "param", "code"}}`."""
    status = openai_status(error)
    field = getattr(error, "field", None)
    body: dict[str, Any] = {
        "message": error.message,
        "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": "n" if field == "num_images" else field,
        "code": error.code,
    }
    headers = headers_of(error)
    if isinstance(error, StillRunning):
        url = link(f"/v1/jobs/{error.job.id}")
        body |= {"job_id": error.job.id, "job_url": url}
        headers["Location"] = url
    if isinstance(error, StillRunning | RenderError) or status == 409:
        headers |= _NEVER_RETRY
    return JSONResponse({"error": body}, status, headers=headers)
