"""Errors in A1111's shape."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import JSONResponse, Response

from api.problems import headers_of, status_of
from api.synchronous import StillRunning
from core.errors import FarmError


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
