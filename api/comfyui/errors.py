"""Answer errors in ComfyUI's shape."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from api.problems import headers_of, status_of
from core.comfyui import GraphRefused
from core.errors import FarmError
from core.schemas.comfyui import ComfyError

PATHS = ("/prompt", "/queue", "/history", "/view", "/upload/", "/interrupt", "/object_info", "/system_stats", "/api/")
"""Prefixes of this face's paths."""


def comfyui_error(error: FarmError, request: Request) -> Response:
    """Return `{"error": {type, message, details, extra_info}, "node_errors"}`; a refused graph is 400, as in ComfyUI."""
    if isinstance(error, GraphRefused):
        return JSONResponse(
            {"error": error.error.as_json(), "node_errors": error.node_errors}, 400, headers=headers_of(error)
        )
    body = {"type": error.code, "message": error.message, "details": "", "extra_info": {}}
    return JSONResponse({"error": body, "node_errors": {}}, status_of(error), headers=headers_of(error))


_DESCRIPTIONS = {
    400: "The graph or the body is refused; `node_errors` names the nodes.",
    401: "The key is missing or invalid.",
    403: "The key lacks the scope.",
    404: "There is no such image.",
    408: "The body did not arrive in time.",
    409: "The present state does not allow it.",
    410: "The image was deleted.",
    413: "The body is too large.",
    422: "A value is wrong.",
    429: "A limit is reached.",
    503: "The database is unavailable.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for a route of this face."""
    return {
        status: {"model": ComfyError, "description": _DESCRIPTIONS[status]} for status in (401, 403, 422, 503, *statuses)
    }
