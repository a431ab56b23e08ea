"""Check what several images need on the device at once: state held, the largest pass and a decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.memory.estimate import tokens
from worker.memory.plan import DEVICE_SHARE, MemoryPlan

LATENT_BYTES_PER_PIXEL = 3.0
"""Latents, prediction and the step's result: 16 channels of 4 bytes each for 8x8 pixels."""
POSITION_BYTES_PER_PIXEL = 2.0
"""Of one row of a pass: 64 complex numbers of 8 bytes for 16x16 pixels."""
EMBEDDING_BYTES = 8 * 2**20
"""Of one prompt: 512 tokens, 4096 wide, 2 bytes; once as the text encoder made it, once refined."""
SMALLEST_PASS = tokens(512, 512)


@dataclass(frozen=True)
class ImageFootprint:
    """`copies`: how often it goes through the denoiser in a step; two with guidance. Sides in pixels."""

    width: int
    height: int
    copies: int = 1

    @property
    def held_bytes(self) -> int:
        """From joining the batch to the end of its decode, whoever's turn it is."""
        pixels = self.width * self.height
        each = int(pixels * POSITION_BYTES_PER_PIXEL) + EMBEDDING_BYTES
        return int(pixels * LATENT_BYTES_PER_PIXEL) + self.copies * each


def fits(plan: MemoryPlan, pictures: Sequence[ImageFootprint], token_budget: int, overlapped: bool) -> bool:
    """Whether these may be rendered side by side. `overlapped`: decoded beside the steps, so that both peaks add up."""
    each_alone = [plan.estimate.picture_tokens(each.width, each.height, each.copies) for each in pictures]
    largest_pass = max(min(sum(each_alone), token_budget), *each_alone)
    step = plan.estimate.tokens_bytes(largest_pass)
    decode = max(plan.estimate.decode_bytes(each.width, each.height) for each in pictures)
    peak = step + decode if overlapped else max(step, decode)
    return peak + sum(each.held_bytes for each in pictures) <= _room(plan)


def overlap_fits(plan: MemoryPlan, width: int, height: int) -> bool:
    """Whether such a picture can be decoded beside a step of another one."""
    return fits(plan, [ImageFootprint(width, height)] * 2, tokens(width, height), overlapped=True)


def token_budget_beside(plan: MemoryPlan, width: int, height: int) -> int:
    """The plan's, cut to what fits beside the decode of such a picture, but never below one 512x512 picture."""
    left = _room(plan) - plan.estimate.decode_bytes(width, height)
    return max(min(plan.token_budget, plan.estimate.tokens_within(left)), SMALLEST_PASS)


def _room(plan: MemoryPlan) -> int:
    """Beside the weights, with the allocator's slack left free; below zero where a tier was forced that does not fit."""
    return int(plan.free_bytes * DEVICE_SHARE) - plan.estimate.resident
