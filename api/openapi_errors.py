"""Describe error responses in the OpenAPI document, and look up the methods that a path allows."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from fastapi import FastAPI
from starlette.routing import compile_path

from core.schemas.base import Problem

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


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: its own error statuses and those that any route can answer."""
    return {
        status: {
            "model": Problem,
            "description": _WORDS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, *_ALWAYS})
    }


def allowed_methods(app: FastAPI, path: str) -> str:
    """As the OpenAPI document says; empty for an address that it does not know."""
    for pattern, methods in _table(app):
        if pattern.fullmatch(path):
            return ", ".join(methods)
    return ""


@cache
def _table(app: FastAPI) -> list[tuple[re.Pattern[str], list[str]]]:
    found: list[tuple[re.Pattern[str], list[str]]] = []
    paths = app.openapi()["paths"]
    for path in sorted(paths, key=lambda each: "{" in each):  # fixed addresses win over patterns
        found.append((compile_path(path)[0], sorted(method.upper() for method in paths[path])))
    return found
