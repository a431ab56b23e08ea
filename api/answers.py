"""Building HTTP answers."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import Response


def json_answer(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A shape as JSON, without a second validation."""
    return Response(
        model.model_dump_json(),
        status,
        headers={"Cache-Control": "no-cache", **(headers or {})},
        media_type="application/json",
    )
