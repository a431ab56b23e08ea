"""Text encoders on a device besides the model's own, as IMAGEFARM_TEXT_ENCODER_DEVICE asks."""

from __future__ import annotations

from dataclasses import replace

from core.catalogue import CatalogueModel
from core.errors import RenderError
from worker.device.machine import GIGABYTE, TextDevice
from worker.memory.estimate import component_bytes
from worker.memory.sizes import ModelSizes
from worker.memory.tiers import Tier

SHARE = 0.95
"""Of the free memory there that the weights may take: encoding a prompt needs little besides."""


def place_text(tier: Tier, text: TextDevice | None) -> Tier:
    """Return the tier with its text encoders on that device; None leaves it as it is."""
    if text is None:
        return tier
    return replace(tier, text_place="cpu" if text.name == "cpu" else "other")


def check_text_device(text: TextDevice, model: CatalogueModel) -> None:
    """Raise RenderError `invalid_input` for a model whose pipeline runs as it is and moves its own components."""
    if model.family == "stock":
        raise RenderError(
            f"The text encoders of {model.id} cannot be on {text.name}: its pipeline encodes prompts where it renders. "
            "Set IMAGEFARM_TEXT_ENCODER_DEVICE to auto for the worker of this model.",
            code="invalid_input",
        )


def check_text_fits(text: TextDevice | None, tier: Tier, sizes: ModelSizes, dtype: str) -> None:
    """Raise RenderError `out_of_memory` where the device lacks memory for the text encoders in the tier's form."""
    if text is None:
        return
    needed = sum(component_bytes(part, tier.text, dtype) for part in sizes.components if part.role == "text")
    if needed > text.free_bytes * SHARE:
        raise RenderError(
            f"The text encoders need {needed / GIGABYTE:.1f} GB, and {text.free_bytes / GIGABYTE:.1f} GB are free on "
            f"{text.name}. Free memory there, or set IMAGEFARM_TEXT_ENCODER_DEVICE to another device or to auto.",
            code="out_of_memory",
        )
