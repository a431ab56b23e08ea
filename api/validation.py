"""Convert pydantic's findings to field errors that name what to send instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from core.parameters import InvalidParameters
from core.schemas.base import names_of
from core.schemas.batches import JOB_FIELD, BatchBase


def field_errors(error: RequestValidationError, request: Request) -> list[tuple[str, str]]:
    """Return (field, message) of each finding; `field` is the path within body, query, path or headers."""
    names = body_names(request)
    return [(_path(item["loc"]), _message(item, names)) for item in error.errors()]


def body_names(request: Request) -> dict[str, str]:
    """Return every name that the route's JSON body accepts -> its field."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    found: dict[str, str] = {}
    for parameter in getattr(dependant, "body_params", []):
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            found |= names_of(model)
    return found


def _path(location: Iterable[Any]) -> str:
    source, *rest = location
    parts = [str(part) for part in rest if not (isinstance(part, int) and source == "body" and len(rest) == 1)]
    return ".".join(parts) or str(source)


def _message(item: Mapping[str, Any], names: Mapping[str, str]) -> str:
    kind, location = item["type"], item["loc"]
    if kind == "extra_forbidden":
        return _unknown(str(location[-1]), names if len(location) == 2 else {})
    if kind == "missing" and location[-1] == "body":
        return "is missing: send a JSON object."
    if kind == "json_invalid":
        return str(item.get("ctx", {}).get("error", "syntax error"))
    message = _said(item)
    return message if message.endswith(".") else f"{message}."


def _said(item: Mapping[str, Any]) -> str:
    """Return pydantic's message, or a plainer one where it speaks of Python."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return "is missing: send it."
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return "must be a JSON object."
    if kind == "too_long" and isinstance(item.get("input"), str):
        return f"has {context['actual_length']} characters: send at most {context['max_length']}."
    return str(item["msg"]).removeprefix("Value error, ")


def _unknown(name: str, names: Mapping[str, str]) -> str:
    if name in names:
        return f"has the same meaning as '{names[name]}', which was sent too: send one of them."
    if {"base", "prompts"} <= names.keys() and name in names_of(BatchBase):
        return f"It {JOB_FIELD}"
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    known = f" Known: {', '.join(sorted(set(names.values())))}." if names and not near else ""
    return f"There is no field of this name.{hint}{known}"


def from_pydantic(error: ValidationError) -> InvalidParameters:
    """Convert a ValidationError to InvalidParameters with (field, message) of each finding."""
    found = error.errors(include_url=False)
    return InvalidParameters([(".".join(str(part) for part in item["loc"]), _said(item)) for item in found])
