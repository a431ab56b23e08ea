"""Bases and text types of the API's shapes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Request(BaseModel):
    """What a caller sends: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=1_000_000)


class Answer(BaseModel):
    """What the farm says. Clients ignore fields that they do not know: later versions add some."""

    model_config = ConfigDict(frozen=True)


def storable(text: str) -> str:
    """Text that both databases and UTF-8 can hold; ValueError for NUL and lone surrogates."""
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
    """Epoch seconds as an aware UTC time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
