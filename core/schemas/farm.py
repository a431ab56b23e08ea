"""Schemas of health, usage by owner, the web page's session, and what its form offers."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from core.api_keys import Scope
from core.schemas.base import RequestBody, ResponseBody
from core.schemas.loras import Lora
from core.schemas.models import Model, Recipe
from core.schemas.styles import Style
from core.schemas.upscales import Upscaler
from core.schemas.wildcards import Wildcard


class Health(ResponseBody):
    """GET /healthz: the API process is alive."""

    status: Literal["ok"] = "ok"
    version: str


class Check(ResponseBody):
    """The state of one dependency."""

    ok: bool
    detail: str


class Readiness(ResponseBody):
    """GET /readyz. `degraded`: jobs are accepted and kept, but workers, broker or another optional part do not answer."""

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
    """The caller; `keys_needed`: whether the farm requires API keys."""

    keys_needed: bool
    signed_in: bool
    owner: str | None
    scopes: list[Scope]


class Choices(ResponseBody):
    """GET /v1/choices: the lists of the calls of the same names. Without a valid key, only `session` is filled."""

    session: Session
    version: str
    flower_port: int | None = Field(None, description="Where Flower listens, for the scope admin.")
    models: list[Model] = Field(default_factory=list)
    recipes: list[Recipe] = Field(default_factory=list)
    styles: list[Style] = Field(default_factory=list)
    loras: list[Lora] = Field(default_factory=list)
    upscalers: list[Upscaler] = Field(default_factory=list)
    wildcards: list[Wildcard] = Field(default_factory=list)
