"""Who calls, and what that lets them see and do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.api_keys import Scope
from core.errors import Forbidden

ANONYMOUS = "anonymous"
MAX_LABEL = 100
_LABEL = re.compile(r"[^A-Za-z0-9._@:+ -]")
_EVERYTHING = frozenset(Scope)


@dataclass(frozen=True)
class KeyLimits:
    """What one key may use; None for no limit. Pixels count when a job is accepted."""

    key_id: str
    max_queued: int | None
    submits_per_minute: int | None
    pixels_per_day: int | None


@dataclass(frozen=True)
class Caller:
    """`owner` is written on what they submit. Without keys in force, everybody may do everything."""

    owner: str
    label: str | None
    scopes: frozenset[Scope] = _EVERYTHING
    limits: KeyLimits | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is theirs; reading everything includes reading one's own."""
        if Scope.ADMIN in self.scopes or scope in self.scopes:
            return True
        return scope is Scope.READ_OWN and Scope.READ_ALL in self.scopes

    def require(self, scope: Scope) -> None:
        """Raises Forbidden without the scope."""
        if not self.may(scope):
            raise Forbidden(f"This key lacks the scope '{scope}'.", code="scope_missing")

    @property
    def visible_owner(self) -> str | None:
        """For queries that read: None means everybody's."""
        return None if self.may(Scope.READ_ALL) else self.owner

    @property
    def acting_owner(self) -> str | None:
        """For queries that change: None means everybody's."""
        return None if self.may(Scope.ADMIN) else self.owner


def clean_label(label: str | None) -> str | None:
    """A label that can be stored and shown."""
    return _LABEL.sub("_", (label or "").strip())[:MAX_LABEL] or None


def labelled(label: str | None) -> Caller:
    """A caller without a key: the label keeps the work of several programs apart and gives each its fair share."""
    cleaned = clean_label(label)
    return Caller(owner=f"client:{cleaned}" if cleaned else ANONYMOUS, label=cleaned)
