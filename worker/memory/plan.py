"""Choose the memory tier that fits a machine and plan token budget and capacity in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.catalogue import CatalogueModel
from core.errors import RenderError
from worker.device.machine import GIGABYTE, Machine
from worker.memory.estimate import Estimate, estimate, tokens
from worker.memory.sizes import ModelSizes
from worker.memory.tiers import PACKED_FORMS, TIERS, Tier, tier_named


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


DEVICE_SHARE = 0.95
"""Of the free device memory that a plan may use: allocators need slack."""
CPU_SPARE = 1 * GIGABYTE
"""Host memory left to everything else."""


def as_estimated(_tier: str) -> float:
    """No correction."""
    return 1.0


def choose(
    model: CatalogueModel,
    sizes: ModelSizes,
    dtype: str,
    machine: Machine,
    policy: str = "auto",
    correction: Callable[[str], float] = as_estimated,
) -> MemoryPlan:
    """The plan for a model on a machine.

    `correction`: tier name -> what to multiply its estimated activations by. A named policy is taken even when the
    estimate says that it will not fit. RenderError `invalid_input` for a policy that does not suit, `out_of_memory`
    when `auto` finds none that fits.
    """
    if policy != "auto":
        tier = _named(policy, model, machine)
        return _plan(tier, estimate(tier, sizes, model.family, dtype, correction(tier.name)), machine)
    tried: list[str] = []
    for tier in (tier for tier in TIERS if tier.automatic and suits(tier, model, machine)):
        needs = estimate(tier, sizes, model.family, dtype, correction(tier.name))
        if not (lacking := _lacking(needs, model, machine)):
            return _plan(tier, needs, machine)
        tried.append(f"{tier.name} {lacking}")
    raise RenderError(
        f"{model.id} does not fit on {machine.device}: {'; '.join(tried)}. Free memory, serve a smaller model, "
        "or force a tier with IMAGEFARM_MEMORY_POLICY.",
        code="out_of_memory",
    )


def suits(tier: Tier, model: CatalogueModel, machine: Machine) -> bool:
    """Whether the tier can be applied to this model on this kind of device at all."""
    if tier.device != machine.device.split(":")[0] or machine.capability < tier.least_capability:
        return False
    quantised = any(form in PACKED_FORMS for form in (tier.denoiser, tier.text))
    return (not tier.families or model.family in tier.families) and not (quantised and model.loras)


def _named(policy: str, model: CatalogueModel, machine: Machine) -> Tier:
    tier = tier_named(policy)
    if tier is not None and suits(tier, model, machine):
        return tier
    fitting = ", ".join(tier.name for tier in TIERS if suits(tier, model, machine))
    card = f" (compute capability {machine.capability[0]}.{machine.capability[1]})" if machine.capability > (0, 0) else ""
    raise RenderError(
        f"The memory policy '{policy}' is not for {model.id} on {machine.device}{card}. Use auto or one of: {fitting}.",
        code="invalid_input",
    )


def _lacking(needs: Estimate, model: CatalogueModel, machine: Machine) -> str:
    """What the machine lacks for one picture of the model's default size; empty when nothing."""
    peak = needs.peak(model.defaults.width, model.defaults.height, _copies(model))
    if peak > machine.free_bytes * DEVICE_SHARE:
        return f"needs {peak / GIGABYTE:.1f} GB of {machine.free_bytes / GIGABYTE:.1f} GB free there"
    if needs.host_total and needs.host_total + CPU_SPARE > machine.host_bytes:
        return f"needs {needs.host_total / GIGABYTE:.1f} GB of {machine.host_bytes / GIGABYTE:.1f} GB host memory"
    return ""


def _copies(model: CatalogueModel) -> int:
    """A picture with guidance goes through the denoiser twice."""
    return 2 if model.defaults.guidance_scale > 1.0 else 1


def _plan(tier: Tier, needs: Estimate, machine: Machine) -> MemoryPlan:
    """The tier's budget cut to what fits beside the weights, but never below one 512x512 picture.

    Twice as many requests are held as a pass may have: while some step, others are encoded, and of more of them some have
    captions of one length and share a pass. What each holds is little, and counted when it is admitted.
    """
    room = int(machine.free_bytes * DEVICE_SHARE) - needs.resident
    smallest = tokens(512, 512)
    budget = max(min(tier.token_budget, needs.tokens_within(room)), smallest)
    capacity = max(min(tier.capacity, 2 * budget // smallest), 1)
    return MemoryPlan(tier, needs, machine.free_bytes, budget, capacity)
