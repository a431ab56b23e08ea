"""The caller of a request: owner, scopes and limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from unicodedata import category, normalize

from core.api_keys import Scope
from core.errors import Forbidden

ANONYMOUS = "anonymous"
MAX_LABEL = 100
_NOT_SHOWN = re.compile(r"[^\w.@:+ -]")
_ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class KeyLimits:
    """Limits of one key; None for no limit. Pixels are counted when a job is accepted."""

    key_id: str
    max_queued: int | None
    submits_per_minute: int | None
    pixels_per_day: int | None


@dataclass(frozen=True)
class Caller:
    """The identity behind a request; `owner` is stored with each submission. Without keys, every caller has all scopes."""

    owner: str
    label: str | None
    scopes: frozenset[Scope] = _ALL_SCOPES
    limits: KeyLimits | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has the scope; `read-all` includes `read-own`."""
        if Scope.ADMIN in self.scopes or scope in self.scopes:
            return True
        return scope is Scope.READ_OWN and Scope.READ_ALL in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise Forbidden when the caller lacks the scope."""
        if not self.may(scope):
            raise Forbidden(f"This key lacks the scope '{scope}'.", code="scope_missing")

    @property
    def visible_owner(self) -> str | None:
        """Return the owner filter of queries that read; None for all owners."""
        return None if self.may(Scope.READ_ALL) else self.owner

    @property
    def acting_owner(self) -> str | None:
        """Return the owner filter of queries that change rows; None for all owners."""
        return None if self.may(Scope.ADMIN) else self.owner


def clean_label(label: str | None) -> str | None:
    """Replace what cannot be shown, besides letters, their marks and digits of any script; None when nothing is left."""
    text = normalize("NFC", as_utf8(label or "").strip())
    return _NOT_SHOWN.sub(_mark_or_replacement, text)[:MAX_LABEL] or None


def _mark_or_replacement(found: re.Match[str]) -> str:
    """Keep the signs that make up vowels in scripts such as Devanagari: without them, different names would be one."""
    follows = found.start() > 0 and found.string[found.start() - 1] not in "_.@:+ -"
    return found[0] if follows and category(found[0]) in ("Mn", "Mc") else "_"


def as_utf8(header: str) -> str:
    """Return a header's value as clients mean it: they send UTF-8, of which the server makes a character of each byte."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def labelled(label: str | None) -> Caller:
    """Return a caller without a key; the label separates several programs and gives each its fair share."""
    cleaned = clean_label(label)
    return Caller(owner=f"client:{cleaned}" if cleaned else ANONYMOUS, label=cleaned)
