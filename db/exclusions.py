"""Conditions on exclusions, which keep a worker from a job for good or for a while."""

from __future__ import annotations

from sqlalchemy import ColumnElement, literal, or_

from core.retries import EXCLUDING_CODES
from db.sql import now
from db.tables import JobExclusion

AVOID_SECONDS = 60.0
"""How long another worker than the one where it failed is preferred for a job; then any may take it."""


def is_final() -> ColumnElement[bool]:
    """Match exclusions for good."""
    return JobExclusion.code.in_(sorted(EXCLUDING_CODES))


def excludes() -> ColumnElement[bool]:
    """Match exclusions that hold now."""
    return or_(is_final(), JobExclusion.created_at > now() - literal(AVOID_SECONDS))
