"""Error answers: problem details (RFC 9457) with a stable code."""

from __future__ import annotations

from pydantic import Field

from core.schemas.base import Answer


class FieldError(Answer):
    """One value at fault; `field` is its path in the request, such as `width` or `prompts.3`."""

    field: str
    message: str


class Problem(Answer):
    """application/problem+json. `code` is stable; `detail` is for people and says what to do."""

    type: str = Field(description="A URI of the code.", examples=["urn:imagefarm:problem:invalid_input"])
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] = Field(default_factory=list)
    instance: str | None = Field(None, description="Path of the request.")
    retry_after_seconds: float | None = None
    request_id: str | None = None
