"""Base classes and text types of the API's schemas, and its error responses (RFC 9457)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class RequestBody(BaseModel):
    """Base of requests: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=1_000_000)


class ResponseBody(BaseModel):
    """Base of responses. Clients ignore unknown fields: later versions add some."""

    model_config = ConfigDict(frozen=True)


def storable(text: str) -> str:
    """Check that both databases and UTF-8 can store the text. Raises ValueError for NUL and lone surrogates."""
    if "\x00" in text:
        raise ValueError("must not contain the NUL character (U+0000): remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is not a character: send valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(storable)]


def iso(seconds: float | None) -> datetime | None:
    """Convert epoch seconds to an aware UTC time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class FieldError(ResponseBody):
    """One invalid value; `field` is its path in the request, such as `width` or `prompts.3`."""

    field: str
    message: str


class Problem(ResponseBody):
    """application/problem+json. `code` is stable; `detail` tells people what to do."""

    type: str = Field(description="A URI of the code.", examples=["urn:imagefarm:problem:invalid_input"])
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] = Field(default_factory=list)
    instance: str | None = Field(None, description="Path of the request.")
    retry_after_seconds: float | None = None
    request_id: str | None = None
