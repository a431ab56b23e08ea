"""Which images may be in flight at once: by held state, the largest pass, and the decode."""

from __future__ import annotations

import dataclasses

import pytest

from core.render import RenderRequest
from worker.engine.admission_policy import MemoryAdmissionPolicy
from worker.memory.batch_memory import MIN_PASS_TOKENS, ImageFootprint, fits, overlap_budget, overlap_fits
from worker.memory.estimate import Estimate
from worker.memory.plan import DEVICE_SHARE, MemoryPlan
from worker.memory.tiers import TIERS

MEGABYTE = 2**20
WEIGHTS = 1000 * MEGABYTE
SQUARE = ImageFootprint(1024, 1024)
"""4096 tokens."""
PASS, DECODE = 4096 * MEGABYTE // 10, 1024 * MEGABYTE
ROW = 8 * MEGABYTE + 2 * MEGABYTE
HELD = 3 * MEGABYTE + ROW


def plan(room: float, token_budget: int = 8192) -> MemoryPlan:
    """Return a plan with that many bytes next to the weights."""
    estimate = Estimate({"transformer": WEIGHTS}, {}, MEGABYTE / 10, DECODE / 1024**2, tile_pixels=None)
    return MemoryPlan(TIERS[0], estimate, int((WEIGHTS + room) / DEVICE_SHARE) + 1, token_budget, capacity=8)


@pytest.mark.parametrize(
    ("images", "budget", "overlapped", "need"),
    [
        ([SQUARE], 8192, False, DECODE + HELD),
        ([SQUARE, SQUARE], 8192, False, DECODE + 2 * HELD),
        ([SQUARE] * 3, 12288, False, 3 * PASS + 3 * HELD),
        ([SQUARE] * 3, 4096, False, DECODE + 3 * HELD),
        ([SQUARE, SQUARE], 4096, True, PASS + DECODE + 2 * HELD),
        ([SQUARE, SQUARE], 8192, True, 2 * PASS + DECODE + 2 * HELD),
        ([SQUARE, ImageFootprint(1024, 1024, rows=2)], 4096, True, 2 * PASS + DECODE + 2 * HELD + ROW),
    ],
)
def test_images_fit_exactly_in_their_needed_memory(
    images: list[ImageFootprint], budget: int, overlapped: bool, need: float
) -> None:
    assert fits(plan(need + MEGABYTE / 2), images, budget, overlapped)
    assert not fits(plan(need - MEGABYTE), images, budget, overlapped)


def test_a_decode_overlaps_steps_only_if_both_fit() -> None:
    assert overlap_fits(plan(PASS + DECODE + 3 * HELD), 1024, 1024)
    assert not overlap_fits(plan(max(PASS, DECODE) + 3 * HELD), 1024, 1024)


def test_the_token_budget_leaves_memory_for_an_overlapped_decode() -> None:
    assert overlap_budget(plan(DECODE + 2.1 * PASS), 1024, 1024) == 8192
    assert overlap_budget(plan(DECODE + 1.5 * PASS), 1024, 1024) == pytest.approx(1.5 * 4096, abs=1)
    assert overlap_budget(plan(DECODE), 1024, 1024) == MIN_PASS_TOKENS
    corrected = plan(DECODE + 2.1 * PASS)
    corrected = dataclasses.replace(corrected, estimate=dataclasses.replace(corrected.estimate, correction=1.5))
    assert overlap_budget(corrected, 1024, 1024) < 8192


def request(side: int, guidance_scale: float = 1.0) -> RenderRequest:
    return RenderRequest(
        id="a/1/0", prompt="", width=side, height=side, num_inference_steps=1, seed=0, guidance_scale=guidance_scale
    )


def test_admission_counts_all_held_memory() -> None:
    admission = MemoryAdmissionPolicy(plan(PASS + DECODE + 2.5 * HELD), 4096, overlapped=True)
    assert admission.admits(request(1024), [request(1024)])
    assert not admission.admits(request(1024), [request(1024), request(64), request(64)])
    assert not admission.admits(request(64), [request(1280)]), "the larger image may be decoded while this one steps"
    assert not admission.admits(request(1024, guidance_scale=2.0), [request(64)])


def test_a_forced_tier_that_does_not_fit_renders_one_at_a_time() -> None:
    assert not MemoryAdmissionPolicy(plan(-MEGABYTE), 4096, overlapped=False).admits(request(64), [request(64)])
