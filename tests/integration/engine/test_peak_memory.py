"""Measured peaks of memory correct the next estimate."""

from __future__ import annotations

from pathlib import Path

from tests.integration.engine.recorder import a_request
from worker.engine.peak_memory import PeakMemoryTracker
from worker.memory.coefficients import Coefficients
from worker.memory.estimate import Estimate
from worker.memory.plan import MemoryPlan
from worker.memory.tiers import TIERS

ESTIMATE = Estimate(device={"transformer": 1000}, host={}, per_token=10.0, decode_per_pixel=0.01, tile_pixels=None)


def make_tracker(tmp_path: Path, readings: list[int]) -> PeakMemoryTracker:
    plan = MemoryPlan(TIERS[0], ESTIMATE, free_bytes=10**9, token_budget=8192, capacity=8)
    return PeakMemoryTracker(plan, Coefficients(tmp_path), "demo", "a GPU", at_rest=1000, read_peak=lambda: readings[-1])


def learned_correction(tmp_path: Path) -> float:
    return Coefficients(tmp_path).get("demo", TIERS[0].name, "a GPU")


def test_a_peak_is_compared_with_the_largest_pass_or_decode(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path, [1000 + 60_000])
    tracker.note_pass(1056)
    tracker.note_pass(4000)
    tracker.note_decode(512, 512)
    tracker.learn()
    assert learned_correction(tmp_path) == 60_000 / 40_000


def test_nothing_is_learned_before_an_image_or_from_an_old_peak(tmp_path: Path) -> None:
    readings = [1000 + 80_000]
    tracker = make_tracker(tmp_path, readings)
    tracker.learn()
    assert learned_correction(tmp_path) == 1.0
    tracker.note_pass(4000)
    tracker.note_decode(512, 512)
    tracker.learn()
    assert learned_correction(tmp_path) == 2.0
    readings.append(1000 + 40_000)
    tracker.learn()
    assert learned_correction(tmp_path) == 2.0


def test_a_decode_in_parallel_to_a_pass_adds_to_it(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path, [1000 + 66_000])
    tracker.note_decode(512, 512)
    tracker.note_pass(4000, [a_request(0, size=512), a_request(1, size=1024)])
    tracker.learn()
    assert learned_correction(tmp_path) == round(66_000 / (40_000 + 10_485), 4)


def test_small_images_are_ignored(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path, [1000 + 80_000])
    tracker.note_pass(256)
    tracker.note_decode(256, 256)
    tracker.learn()
    assert learned_correction(tmp_path) == 1.0
