"""Schemas of API keys: what an administrator creates and what the API returns."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from core.api_keys import DEFAULT_SCOPES, Scope
from core.schemas.base import RequestBody, ResponseBody, storable

MAX_DAYS = 36_500
_Limit = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(storable)]
_Owner = Annotated[str, StringConstraints(strip_whitespace=True, max_length=120), AfterValidator(storable)]


class KeyRequest(RequestBody):
    """POST /v1/keys. A limit that is not given is none."""

    name: _Name = Field(description="Purpose of the key, such as `anna-laptop`.")
    owner: _Owner = Field("", description="Owner of the jobs; all keys of an owner share them. Default: the key itself.")
    scopes: list[Scope] = Field(list(DEFAULT_SCOPES), min_length=1, max_length=len(Scope))
    max_queued: _Limit | None = Field(None, description="Most jobs of the owner that may wait at a time.")
    submits_per_minute: _Limit | None = None
    pixels_per_day: Annotated[int, Field(ge=1, le=2**53)] | None = None
    expires_in_days: Annotated[float, Field(gt=0, le=MAX_DAYS)] | None = Field(
        None, description="Default: it does not expire."
    )


class KeyUse(ResponseBody):
    """An API key with its limits, without its secret, and what it has used today (UTC). Null: no limit."""

    id: str
    name: str
    owner: str
    scopes: list[str]
    max_queued: int | None
    submits_per_minute: int | None
    pixels_per_day: int | None
    pixels_today: int
    active: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKey(KeyUse):
    """A key that was just created. Only this response contains the key itself."""

    key: str


class KeyList(ResponseBody):
    """GET /v1/keys, oldest first."""

    items: list[KeyUse]
