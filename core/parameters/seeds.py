"""Seeds: drawn when the job is accepted, so that what is stored can be rendered again."""

from __future__ import annotations

import secrets

from core.parameters.errors import Findings

LARGEST = 2**32 - 1
RANDOM = -1


def resolve_seed(seed: int, num_images: int, findings: Findings) -> int:
    """The seed of the first image; -1 draws one of 0..2^32-2 that leaves room for the other images."""
    if seed == RANDOM:
        return secrets.randbelow(max(LARGEST - max(num_images, 1) + 1, 1))
    if not 0 <= seed <= LARGEST:
        findings.add("seed", f"{seed} is out of range: send 0 to {LARGEST}, or -1 to have one drawn.")
    elif seed + num_images - 1 > LARGEST:
        findings.add("seed", f"image i gets seed + i, which passes {LARGEST}: send at most {LARGEST - num_images + 1}.")
    return seed
