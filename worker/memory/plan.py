"""Choose the memory tier that fits a machine, and derive its token budget and capacity."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from core.catalogue import CatalogueModel
from core.errors import RenderError
from worker.device.machine import GIGABYTE, Machine, TextDevice
from worker.memory.estimate import Estimate, estimate, tokens
from worker.memory.sizes import ModelSizes
from worker.memory.text_placement import check_text_device, check_text_fits, place_text
from worker.memory.tiers import PACKED_FORMS, TIERS, Tier, tier_named

DEVICE_SHARE = 0.95
"""Share of the free device memory that a plan may use: allocators need slack."""
CPU_SPARE = 1 * GIGABYTE
"""Host memory left to everything else."""


@dataclass(frozen=True)
class MemoryPlan:
    """A tier with `token_budget` and `capacity` cut to what fits next to the weights.

    `free_bytes`: free device memory before loading. `stored`: component -> type, of those that their files store packed.
    `text_device`: where text encoders are instead of where the tier says; empty if the tier decides.
    """

    tier: Tier
    estimate: Estimate
    free_bytes: int
    token_budget: int
    capacity: int
    stored: Mapping[str, str] = field(default_factory=dict)
    text_device: str = ""

    @property
    def policy(self) -> str:
        return self.tier.name

    def describe(self) -> str:
        """Return one line for the worker's log."""
        device, host = self.estimate.resident / GIGABYTE, self.estimate.host_total / GIGABYTE
        packed = ", ".join(f"{name} {kind}" for name, kind in self.stored.items())
        text = f"memory policy {self.policy}: {self.tier.about}; "
        text += f"as stored: {packed}; " if packed else ""
        text += f"text encoders on {self.text_device} instead, as set; " if self.text_device else ""
        text += f"weights {device:.1f} GB on the device"
        text += f" and {host:.1f} GB in host memory" if host else ""
        peak = self.estimate.peak(1024, 1024) / GIGABYTE
        free = self.free_bytes / GIGABYTE
        return f"{text}, estimated peak at 1024x1024 {peak:.1f} of {free:.1f} GB, {self.token_budget} tokens a pass"


def as_estimated(_tier: str) -> float:
    """Return 1.0: no correction."""
    return 1.0


def choose_plan(
    model: CatalogueModel,
    sizes: ModelSizes,
    dtype: str,
    machine: Machine,
    policy: str = "auto",
    correction: Callable[[str], float] = as_estimated,
    compute: str | None = None,
    text: TextDevice | None = None,
) -> MemoryPlan:
    """Plan a model's memory on a machine.

    `dtype`: of the weights; `compute`: of the products, where it is another one. `text`: where its text encoders must be.
    `correction`: tier name -> factor for its estimated activations. A named policy is used even when the estimate does not
    fit. Raise RenderError `invalid_input` for a policy that does not suit the model or device, `out_of_memory` when `auto`
    finds no tier that fits.
    """
    stored = {part.name: part.stored.kind for part in sizes.components if part.stored}
    _check_loras(model, sizes)
    if text is not None:
        check_text_device(text, model)
    where = text.name if text is not None else ""
    if policy != "auto":
        tier = place_text(_named(policy, model, machine, sizes), text)
        check_text_fits(text, tier, sizes, dtype)
        needs = estimate(tier, sizes, model.family, dtype, correction(tier.name), compute)
        return replace(_plan(tier, needs, machine), stored=stored, text_device=where)
    tried: list[str] = []
    for tier in (place_text(tier, text) for tier in TIERS if tier.automatic and suits(tier, model, machine, sizes)):
        needs = estimate(tier, sizes, model.family, dtype, correction(tier.name), compute)
        if not (lacking := _missing_memory(needs, model, machine)):
            check_text_fits(text, tier, sizes, dtype)
            return replace(_plan(tier, needs, machine), stored=stored, text_device=where)
        tried.append(f"{tier.name} {lacking}")
    raise RenderError(
        f"{model.id} does not fit on {machine.device}: {'; '.join(tried)}. Free memory, serve a smaller model, "
        "or force a tier with IMAGEFARM_MEMORY_POLICY.",
        code="out_of_memory",
    )


def _check_loras(model: CatalogueModel, sizes: ModelSizes) -> None:
    """Raise RenderError for LoRAs that are part of a model whose weights are packed: they could not be fused."""
    stored = sizes.stored("denoiser")
    if stored and model.loras:
        raise RenderError(
            f"{model.id} has a LoRA that is part of the model, and its file stores {stored.kind}, into which no LoRA can be "
            "fused. Use a file in bf16 or fp16, or remove the LoRA from the model and name it in each job.",
            code="invalid_input",
        )


def suits(tier: Tier, model: CatalogueModel, machine: Machine, sizes: ModelSizes) -> bool:
    """Return whether the tier can be applied to this model on this kind of device at all."""
    if not _suits_stored_form(tier, sizes):
        return False
    if tier.device != machine.device.split(":")[0] or machine.capability < tier.min_capability:
        return False
    quantised = any(form in PACKED_FORMS for form in (tier.denoiser, tier.text))
    return (not tier.families or model.family in tier.families) and not (quantised and model.loras)


def _suits_stored_form(tier: Tier, sizes: ModelSizes) -> bool:
    """Return whether the tier leaves a packed denoiser as it is; `for_packed_files` changes an unpacked text encoder only.

    Tiers that quantise an unpacked denoiser leave a packed text encoder as it is.
    """
    if sizes.stored("denoiser") is None:
        return not tier.for_packed_files
    return tier.denoiser == "native" and not (tier.text in PACKED_FORMS and sizes.stored("text"))


def _named(policy: str, model: CatalogueModel, machine: Machine, sizes: ModelSizes) -> Tier:
    tier = tier_named(policy)
    if tier is not None and suits(tier, model, machine, sizes):
        return tier
    fitting = ", ".join(tier.name for tier in TIERS if suits(tier, model, machine, sizes))
    stored = sizes.stored("denoiser")
    if tier is not None and stored and not _suits_stored_form(tier, sizes):
        raise RenderError(
            f"The memory policy '{policy}' is not for {model.id}: its file stores {stored.kind}, and such weights are not "
            f"quantised again. Use auto or one of: {fitting}.",
            code="invalid_input",
        )
    major, minor = machine.capability
    capability = f" (compute capability {major}.{minor})" if major else ""
    raise RenderError(
        f"The memory policy '{policy}' is not for {model.id} on {machine.device}{capability}. "
        f"Use auto or one of: {fitting}.",
        code="invalid_input",
    )


def _missing_memory(needs: Estimate, model: CatalogueModel, machine: Machine) -> str:
    """Describe what the machine lacks for one image of the model's default size; empty if nothing."""
    peak = needs.peak(model.defaults.width, model.defaults.height, _rows_per_image(model))
    if peak > machine.free_bytes * DEVICE_SHARE:
        return f"needs {peak / GIGABYTE:.1f} GB of {machine.free_bytes / GIGABYTE:.1f} GB free there"
    if needs.host_total and needs.host_total + CPU_SPARE > machine.host_bytes:
        return f"needs {needs.host_total / GIGABYTE:.1f} GB of {machine.host_bytes / GIGABYTE:.1f} GB host memory"
    return ""


def _rows_per_image(model: CatalogueModel) -> int:
    """Return the rows of one image in a pass: guidance needs two."""
    return 2 if model.defaults.guidance_scale > 1.0 else 1


def _plan(tier: Tier, needs: Estimate, machine: Machine) -> MemoryPlan:
    """Cut the tier's token budget to what fits next to the weights, but never below one 512x512 image.

    Capacity is twice what a pass may hold: while some requests step, others are encoded, and among more requests some
    have captions of equal length and share a pass. Each holds little memory, which is counted at admission.
    """
    available = int(machine.free_bytes * DEVICE_SHARE) - needs.resident
    smallest = tokens(512, 512)
    budget = max(min(tier.token_budget, needs.tokens_within(available)), smallest)
    capacity = max(min(tier.capacity, 2 * budget // smallest), 1)
    return MemoryPlan(tier, needs, machine.free_bytes, budget, capacity)


def max_pixels(plan: MemoryPlan, model: CatalogueModel, rows: int = 1) -> int:
    """Return the pixels of the largest square that fits next to the weights, within the model's limits.

    `rows`: of one image in a pass; guidance needs two. The result is never below the model's default size, with which
    the plan was chosen, nor below the size for which a forced tier is budgeted; 0 where the free memory is not known.
    """
    if not plan.free_bytes:
        return 0
    limits, needs = model.limits, plan.estimate
    available = int(plan.free_bytes * DEVICE_SHARE)
    largest = min(int(limits.max_pixels**0.5), limits.max_side) // limits.multiple * limits.multiple
    sides = range(limits.multiple, largest + 1, limits.multiple)
    fitting = bisect_right(sides, available, key=lambda side: needs.peak(side, side, rows))
    if fitting == len(sides):
        return limits.max_pixels
    side = sides[fitting - 1] if fitting else 0
    return max(side * side, 512 * 512, model.defaults.width * model.defaults.height)
