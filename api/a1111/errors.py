"""Answer errors in A1111's shape, and describe them in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from api.problems import headers_of, status_of
from api.submission import StillRunning
from core.errors import FarmError
from core.schemas.a1111 import A1111Error


def a1111_error(error: FarmError, request: Request) -> Response:
    """Return `{"error", "detail", "body", "errors"}` with the farm's stable `code` added."""
    status = 504 if isinstance(error, StillRunning) else status_of(error)
    body = {
        "error": type(error).__name__,
        "detail": error.message,
        "body": "",
        "errors": error.message,
        "code": error.code,
    }
    return JSONResponse(body, status, headers=headers_of(error))


_DESCRIPTIONS: Mapping[int, str] = MappingProxyType(
    {
        400: "The body is not JSON.",
        401: "The key is missing or invalid.",
        403: "The key lacks the scope.",
        408: "The body did not arrive in time.",
        409: "The present state does not allow it; for example, no worker serves that model.",
        413: "The body is too large.",
        415: "The content type is not supported.",
        422: "A value is wrong.",
        429: "A limit is reached.",
        500: "The rendering failed.",
        503: "The database is unavailable.",
        504: "The job takes longer than a request may wait; it continues.",
    }
)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for a route of this face."""
    return {
        status: {"model": A1111Error, "description": _DESCRIPTIONS[status]} for status in (401, 403, 422, 503, *statuses)
    }
