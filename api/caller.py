"""Who calls, and what that lets them see."""

from __future__ import annotations

import re
from dataclasses import dataclass

ANONYMOUS = "anonymous"
_LABEL = re.compile(r"[^A-Za-z0-9._@:+ -]")
MAX_LABEL = 100


@dataclass(frozen=True)
class Caller:
    """`owner` is written on what they submit; `sees_all` lets them read and act on everybody's."""

    owner: str
    label: str | None
    sees_all: bool = True
    is_admin: bool = True

    @property
    def visible_owner(self) -> str | None:
        """For queries: None means no restriction."""
        return None if self.sees_all else self.owner


def labelled(label: str | None) -> Caller:
    """A caller without a key: the label keeps the work of several programs apart and gives each its fair share."""
    cleaned = _LABEL.sub("_", (label or "").strip())[:MAX_LABEL]
    return Caller(owner=f"client:{cleaned}" if cleaned else ANONYMOUS, label=cleaned or None)
