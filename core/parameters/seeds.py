"""Draw and check seeds, also those of variations: noise of a second seed that is mixed into that of the first."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.catalogue import CatalogueModel
from core.parameters.parameters import Findings
from core.render import MAX_SEED
from core.schemas.jobs import RenderFields

RANDOM_SEED = -1
"""Seed by which a request asks for a random one."""


def resolve_seed(seed: int, num_images: int, findings: Findings, field: str = "seed") -> int:
    """Return the seed of the first image. -1 draws one from 0..2^32-2 such that seed + i fits for every image i.

    Seeds are drawn when the job is accepted, so that the stored job can be rendered again.
    """
    if seed == RANDOM_SEED:
        return secrets.randbelow(max(MAX_SEED - max(num_images, 1) + 1, 1))
    if not 0 <= seed <= MAX_SEED:
        findings.add(field, f"{seed} is out of range: send 0 to {MAX_SEED}, or -1 to have one drawn.")
    elif seed + num_images - 1 > MAX_SEED:
        findings.add(field, f"image i gets {field} + i, which exceeds {MAX_SEED}: send at most {MAX_SEED - num_images + 1}.")
    return seed


def seeds_of(job_input: Mapping[str, Any], index: int) -> dict[str, int]:
    """Return the seeds of one image of a job: seed + index, or with a variation the same seed and variation seed + index.

    That is A1111's rule (`all_seeds` and `all_subseeds` in modules/processing.py).
    """
    if job_input.get("variation_strength"):
        return {"seed": int(job_input["seed"]), "variation_seed": int(job_input["variation_seed"]) + index}
    return {"seed": int(job_input["seed"]) + index}


def input_of_image(job_input: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return a job's stored parameters as those of one image: its own texts and seeds, and a count of one."""
    found = {name: value for name, value in job_input.items() if name not in ("prompts", "negative_prompts")}
    for name, texts in (("prompt", "prompts"), ("negative_prompt", "negative_prompts")):
        if job_input.get(texts):
            found[name] = job_input[texts][index]
    return found | seeds_of(job_input, index) | {"num_images": 1}


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
