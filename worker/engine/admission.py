"""May one more request join those that are being rendered?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.render import RenderRequest
from worker.memory.plan import MemoryPlan


class Admission(Protocol):
    """Asked before a request joins others; an empty engine takes any."""

    def admits(self, request: RenderRequest, active: Sequence[RenderRequest]) -> bool:
        """Whether memory allows it beside those."""


class PlannedAdmission:
    """By the memory plan. Passes are cut to its token budget, so only what a request needs by itself is asked."""

    def __init__(self, plan: MemoryPlan) -> None:
        self._plan = plan

    def admits(self, request: RenderRequest, active: Sequence[RenderRequest]) -> bool:
        copies = 2 if request.guidance_scale > 1.0 else 1
        return self._plan.admits(request.width, request.height, copies)
