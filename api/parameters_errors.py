"""Findings of a shape that a face filled in itself, as one of our errors."""

from __future__ import annotations

from pydantic import ValidationError

from core.parameters import InvalidParameters


def from_pydantic(error: ValidationError) -> InvalidParameters:
    """(field, message) of each finding."""
    found = []
    for item in error.errors(include_url=False, include_context=False):
        message = str(item["msg"]).removeprefix("Value error, ")
        found.append((".".join(str(part) for part in item["loc"]), message))
    return InvalidParameters(found)
