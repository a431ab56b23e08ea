"""May one more request join those that are being rendered?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.render import RenderRequest
from worker.memory.company import Picture, fits
from worker.memory.plan import MemoryPlan


class Admission(Protocol):
    """Asked before a request joins others; an empty engine takes any."""

    def admits(self, request: RenderRequest, company: Sequence[RenderRequest]) -> bool:
        """Whether memory allows it beside those: encoded, stepped or decoded."""


class PlannedAdmission:
    """By the memory plan, for passes of at most `token_budget`; `overlapped`: decodes run beside them."""

    def __init__(self, plan: MemoryPlan, token_budget: int, overlapped: bool) -> None:
        self._plan = plan
        self._token_budget = token_budget
        self._overlapped = overlapped

    def admits(self, request: RenderRequest, company: Sequence[RenderRequest]) -> bool:
        pictures = [_picture(each) for each in (request, *company)]
        return fits(self._plan, pictures, self._token_budget, self._overlapped)


def _picture(request: RenderRequest) -> Picture:
    return Picture(request.width, request.height, copies=2 if request.guidance_scale > 1.0 else 1)
