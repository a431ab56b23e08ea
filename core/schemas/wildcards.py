"""Schemas of wildcards."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from core.schemas.base import RequestBody, ResponseBody, Text


class WildcardText(RequestBody):
    """PUT /v1/wildcards/{name}."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "red\nblue\ndark green\n"}]})

    text: Text = Field(description="One value a line; lines that begin with # are comments. Values may be dynamic too.")


class Wildcard(ResponseBody):
    """A wildcard; `values` holds the first ones, `text` all of them."""

    name: str
    count: int
    values: list[str]
    text: str | None = Field(None, description="Only of one wildcard.")


class WildcardList(ResponseBody):
    """GET /v1/wildcards."""

    items: list[Wildcard]
