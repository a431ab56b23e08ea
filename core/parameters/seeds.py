"""Draw and check seeds."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from core.parameters.parameters import Findings

MAX_SEED = 2**32 - 1
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
