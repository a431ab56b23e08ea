"""Schemas of the farm as a whole: health, usage by owner, and the web page's session."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from core.api_keys import Scope
from core.schemas.base import RequestBody, ResponseBody


class Health(ResponseBody):
    """GET /healthz: this process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Check(ResponseBody):
    """One part the farm stands on."""

    ok: bool
    detail: str


class Readiness(ResponseBody):
    """GET /readyz. `degraded`: jobs are accepted and kept, but something that renders or speeds them up is away."""

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, Check]


class UsageDay(ResponseBody):
    """One owner's day (UTC). `render_seconds` is time on workers, from start to end of the jobs that succeeded."""

    day: date
    owner: str
    jobs: int
    images: int
    pixels: int
    render_seconds: float


class Usage(ResponseBody):
    """GET /v1/usage, latest day first."""

    items: list[UsageDay]
    jobs: int
    images: int
    pixels: int
    render_seconds: float


class SessionRequest(RequestBody):
    """POST /v1/session."""

    key: str = Field(max_length=200, pattern=r"^[A-Za-z0-9_-]+$")


class Session(ResponseBody):
    """Who calls; `keys_needed` says whether the farm asks for keys at all."""

    keys_needed: bool
    signed_in: bool
    owner: str | None
    scopes: list[Scope]
