"""Compare entity tags as If-None-Match does (RFC 9110, 13.1.2): weakly."""

from __future__ import annotations

import re

_TAG = re.compile(r'(?:W/)?("[^"]*")')


def none_match(header: str | None, tag: str) -> bool:
    """Return whether If-None-Match names `tag`, so that 304 is the answer; `W/` makes no difference."""
    if header is None:
        return False
    return header.strip() == "*" or tag.removeprefix("W/") in _TAG.findall(header)
