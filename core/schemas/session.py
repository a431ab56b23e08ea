"""The page's session."""

from __future__ import annotations

from pydantic import Field

from core.keys import Scope
from core.schemas.base import Answer, Request


class SessionRequest(Request):
    """POST /v1/session."""

    key: str = Field(max_length=200, pattern=r"^[A-Za-z0-9_-]+$")


class Session(Answer):
    """Who calls; `keys_needed` says whether the farm asks for keys at all."""

    keys_needed: bool
    signed_in: bool
    owner: str | None
    scopes: list[Scope]
