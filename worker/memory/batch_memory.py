"""Estimate the device memory of several images in flight: held state, the largest pass and the largest decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.memory.estimate import tokens
from worker.memory.plan import DEVICE_SHARE, MemoryPlan

LATENT_BYTES_PER_PIXEL = 3.0
"""Latents, prediction and the step's result: 16 channels of 4 bytes each per 8x8 pixels."""
POSITION_BYTES_PER_PIXEL = 2.0
"""For one row of a pass: 64 complex numbers of 8 bytes per 16x16 pixels."""
EMBEDDING_BYTES = 8 * 2**20
"""For one prompt: 512 tokens, 4096 wide, 2 bytes; once as encoded, once refined."""
MIN_PASS_TOKENS = tokens(512, 512)
"""A token budget is never cut below one 512x512 image."""


@dataclass(frozen=True)
class ImageFootprint:
    """Size of one image in pixels; `rows`: its rows in the denoiser per step, two with guidance."""

    width: int
    height: int
    rows: int = 1

    @property
    def held_bytes(self) -> int:
        """Bytes held from admission to the end of its decode, also while other images are stepped."""
        pixels = self.width * self.height
        each = int(pixels * POSITION_BYTES_PER_PIXEL) + EMBEDDING_BYTES
        return int(pixels * LATENT_BYTES_PER_PIXEL) + self.rows * each


def fits(plan: MemoryPlan, images: Sequence[ImageFootprint], token_budget: int, overlapped: bool) -> bool:
    """Return whether these images may be in flight at once.

    `overlapped`: decodes run concurrently with steps, so that both peaks add up.
    """
    each_alone = [plan.estimate.image_tokens(each.width, each.height, each.rows) for each in images]
    largest_pass = max(min(sum(each_alone), token_budget), *each_alone)
    step = plan.estimate.tokens_bytes(largest_pass)
    decode = max(plan.estimate.decode_bytes(each.width, each.height) for each in images)
    peak = step + decode if overlapped else max(step, decode)
    return peak + sum(each.held_bytes for each in images) <= _available_bytes(plan)


def overlap_fits(plan: MemoryPlan, width: int, height: int) -> bool:
    """Return whether an image of that size can be decoded during a step of another one."""
    return fits(plan, [ImageFootprint(width, height)] * 2, tokens(width, height), overlapped=True)


def overlap_budget(plan: MemoryPlan, width: int, height: int) -> int:
    """Return the plan's budget cut to what fits during the decode of such an image, at least one 512x512 image."""
    left = _available_bytes(plan) - plan.estimate.decode_bytes(width, height)
    return max(min(plan.token_budget, plan.estimate.tokens_within(left)), MIN_PASS_TOKENS)


def _available_bytes(plan: MemoryPlan) -> int:
    """Return what the weights and the allocator's slack leave; negative where a forced tier does not fit."""
    return int(plan.free_bytes * DEVICE_SHARE) - plan.estimate.resident
