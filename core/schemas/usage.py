"""What was rendered, by day and owner."""

from __future__ import annotations

from datetime import date

from core.schemas.base import Answer


class UsageDay(Answer):
    """One owner's day (UTC). `render_seconds` is time on workers, from start to end of the jobs that succeeded."""

    day: date
    owner: str
    jobs: int
    images: int
    pixels: int
    render_seconds: float


class Usage(Answer):
    """GET /v1/usage, latest day first."""

    items: list[UsageDay]
    jobs: int
    images: int
    pixels: int
    render_seconds: float
