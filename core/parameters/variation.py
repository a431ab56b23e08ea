"""Check the variation of a request: noise of a second seed that is mixed into that of the first."""

from __future__ import annotations

from dataclasses import dataclass

from core.catalogue import CatalogueModel
from core.parameters.parameters import Findings
from core.parameters.seeds import RANDOM_SEED, resolve_seed
from core.schemas.jobs import RenderFields


@dataclass(frozen=True)
class Variation:
    """`seed` of the first image and `strength`, above 0 and at most 1; both None without a variation."""

    seed: int | None = None
    strength: float | None = None


def choose_variation(request: RenderFields, model: CatalogueModel, findings: Findings) -> Variation:
    """Return the request's variation; add a finding for one that is out of range or that the model cannot render."""
    strength = request.variation_strength
    if not strength:
        return Variation()
    if not 0 < strength <= 1:
        findings.add("variation_strength", f"{strength:g} is out of range: send 0 (no variation) to 1 (its own image).")
        return Variation()
    if not model.takes_noise:
        findings.add(
            "variation_strength",
            f"{model.id} draws its noise by itself, so that nothing can be mixed in: leave it out, or choose another model.",
        )
    seed = RANDOM_SEED if request.variation_seed is None else request.variation_seed
    return Variation(resolve_seed(seed, request.num_images, findings, "variation_seed"), strength)


def variation_ignored(request: RenderFields) -> str:
    """Return a warning for a variation seed without a strength; empty without one."""
    if request.variation_seed is None or request.variation_strength is not None:
        return ""
    return "variation_seed has no effect without variation_strength (above 0, at most 1)."
