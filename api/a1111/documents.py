"""What the OpenAPI document says about the A1111 face's errors."""

from __future__ import annotations

from typing import Any

from core.schemas.a1111 import A1111Error

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
