"""Decide whether memory admits a further request next to those that are already held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.render import RenderRequest
from worker.memory.batch_memory import ImageFootprint, fits
from worker.memory.plan import MemoryPlan


class AdmissionPolicy(Protocol):
    """Consulted before a request joins others; an empty engine admits any request."""

    def admits(self, request: RenderRequest, others: Sequence[RenderRequest]) -> bool:
        """Return whether memory allows `request` next to `others`, which are being encoded, stepped or decoded."""


class MemoryAdmissionPolicy:
    """Admit by the memory plan, for passes of at most `token_budget` tokens; `overlapped`: decodes run in parallel."""

    def __init__(self, plan: MemoryPlan, token_budget: int, overlapped: bool) -> None:
        self._plan = plan
        self._token_budget = token_budget
        self._overlapped = overlapped

    def admits(self, request: RenderRequest, others: Sequence[RenderRequest]) -> bool:
        footprints = [_footprint(each) for each in (request, *others)]
        return fits(self._plan, footprints, self._token_budget, self._overlapped)


def _footprint(request: RenderRequest) -> ImageFootprint:
    return ImageFootprint(request.width, request.height, rows=2 if request.guidance_scale > 1.0 else 1)
