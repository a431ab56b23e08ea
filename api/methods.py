"""Which methods an address takes: for the Allow header of a 405."""

from __future__ import annotations

import re
from functools import cache

from fastapi import FastAPI
from starlette.routing import compile_path


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
