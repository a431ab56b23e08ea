"""Health answers."""

from __future__ import annotations

from typing import Literal

from core.schemas.base import Answer


class Health(Answer):
    """GET /healthz: this process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Check(Answer):
    """One part the farm stands on."""

    ok: bool
    detail: str


class Readiness(Answer):
    """GET /readyz. `degraded`: jobs are accepted and kept, but something that renders or speeds them up is away."""

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, Check]
