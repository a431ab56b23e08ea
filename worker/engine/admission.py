"""May one more request join those that are being rendered?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.render import RenderRequest


class Admission(Protocol):
    """Asked before a request joins others; an empty engine takes any."""

    def admits(self, request: RenderRequest, active: Sequence[RenderRequest]) -> bool:
        """Whether memory allows it beside those."""


class AdmitAll:
    """For memory that cannot be the limit: the capacity is."""

    def admits(self, request: RenderRequest, active: Sequence[RenderRequest]) -> bool:
        return True
