"""What the OpenAPI document says about errors."""

from __future__ import annotations

from typing import Any

from core.schemas.problem import Problem

_WORDS = {
    400: "The body is not JSON.",
    401: "A key is missing or not valid.",
    403: "The key lacks the scope.",
    404: "There is no such thing, or it is not yours.",
    406: "None of the formats asked for can be made.",
    408: "The body did not arrive in time.",
    409: "The present state does not allow it.",
    410: "It existed and has been deleted.",
    413: "The body is too large.",
    415: "The content type is not taken.",
    422: "A value is wrong; `errors` names each and says what to send.",
    429: "A limit is reached; Retry-After says when to come back.",
    503: "The database is away; Retry-After says when to come back.",
}
_ALWAYS = (401, 403, 422, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: its own error statuses and those that any route can answer."""
    return {
        status: {
            "model": Problem,
            "description": _WORDS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, *_ALWAYS})
    }
