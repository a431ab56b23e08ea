"""Error responses of the OpenAPI document, and the methods that a path allows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from starlette.routing import compile_path

from core.schemas.base import Problem

_DESCRIPTIONS: Mapping[int, str] = MappingProxyType(
    {
        400: "The body is not JSON.",
        401: "The key is missing or invalid.",
        403: "The key lacks the scope.",
        404: "It does not exist, or it is not yours.",
        406: "None of the accepted formats is available.",
        408: "The body did not arrive in time.",
        409: "The present state does not allow it.",
        410: "It existed and has been deleted.",
        413: "The body is too large.",
        415: "The content type is not supported.",
        422: "A value is wrong; `errors` names each field and what to send.",
        429: "A limit is reached; Retry-After states when to retry.",
        503: "The database is unavailable; Retry-After states when to retry.",
    }
)
_ALWAYS = (401, 403, 422, 503)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for a route: its own error statuses and those of every route."""
    return {
        status: {
            "model": Problem,
            "description": _DESCRIPTIONS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, *_ALWAYS})
    }


def allowed_methods(app: FastAPI, path: str) -> str:
    """Return the methods that the OpenAPI document lists for a path; empty for an unknown path."""
    for pattern, methods in _table(app):
        if pattern.fullmatch(path):
            return ", ".join(methods)
    return ""


@cache
def _table(app: FastAPI) -> list[tuple[re.Pattern[str], list[str]]]:
    found: list[tuple[re.Pattern[str], list[str]]] = []
    paths = app.openapi()["paths"]
    for path in sorted(paths, key=lambda each: "{" in each):  # fixed addresses win over patterns
        found.append(
            (
                compile_path(path)[0],
                sorted({method.upper() for method in paths[path]} | ({"HEAD"} if "get" in paths[path] else set())),
            )
        )
    return found
