"""Answer errors in A1111's shape, and describe them in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from api.problems import headers_of, status_of
from api.submission import StillRunning
from core.errors import FarmError
from core.schemas.a1111 import A1111Error


def a1111_error(error: FarmError, request: Request) -> Response:
    """`{"error", "detail", "body", "errors"}`, with our stable `code` added."""
    status = 504 if isinstance(error, StillRunning) else status_of(error)
    body = {
        "error": type(error).__name__,
        "detail": error.message,
        "body": "",
        "errors": error.message,
        "code": error.code,
    }
    return JSONResponse(body, status, headers=headers_of(error))


_WORDS = {
    400: "The body is not JSON.",
    401: "A key is missing or not valid.",
    403: "The key lacks the scope.",
    408: "The body did not arrive in time.",
    409: "The present state does not allow it, such as: nobody serves that model.",
    413: "The body is too large.",
    415: "The content type is not taken.",
    422: "A value is wrong.",
    429: "A limit is reached.",
    500: "The rendering failed.",
    503: "The database is away.",
    504: "It takes longer than you may be kept waiting; the job goes on.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route of this face."""
    return {status: {"model": A1111Error, "description": _WORDS[status]} for status in (401, 403, 422, 503, *statuses)}
