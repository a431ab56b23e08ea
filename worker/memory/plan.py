"""The chosen tier with its numbers: what the engine needs to admit requests and to fill a pass."""

from __future__ import annotations

from dataclasses import dataclass

from worker.memory.needs import Estimate
from worker.memory.tiers import Tier

GIGABYTE = 10**9


@dataclass(frozen=True)
class MemoryPlan:
    """`token_budget` and `capacity` are cut to what fits beside the weights.

    `free_bytes`: what the device had before loading.
    """

    tier: Tier
    estimate: Estimate
    free_bytes: int
    token_budget: int
    capacity: int

    @property
    def policy(self) -> str:
        return self.tier.name

    def describe(self) -> str:
        """One line for the worker's log."""
        device, host = self.estimate.resident / GIGABYTE, self.estimate.host_total / GIGABYTE
        text = f"memory policy {self.policy}: {self.tier.about}; weights {device:.1f} GB on the device"
        text += f" and {host:.1f} GB in host memory" if host else ""
        peak = self.estimate.peak(1024, 1024) / GIGABYTE
        free = self.free_bytes / GIGABYTE
        return f"{text}, estimated peak at 1024x1024 {peak:.1f} of {free:.1f} GB, {self.token_budget} tokens a pass"
