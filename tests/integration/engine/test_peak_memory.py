"""Measured peaks of memory correct the next estimate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from tests.integration.engine.recorder import a_request
from worker.engine.builder import _resume
from worker.engine.peak_memory import PeakMemoryTracker
from worker.memory.coefficients import Coefficients
from worker.memory.estimate import Estimate
from worker.memory.plan import MemoryPlan
from worker.memory.tiers import TIERS, Tier, tier_named
from worker.pipelines.tuning.tune import Tuning

ESTIMATE = Estimate(device={"transformer": 1000}, host={}, per_token=10.0, decode_per_pixel=0.01, tile_pixels=None)


def make_tracker(
    tmp_path: Path, readings: list[int], tier: Tier = TIERS[0], at_rest: int = 1000, later_at_rest: int = 1000
) -> PeakMemoryTracker:
    plan = MemoryPlan(tier, ESTIMATE, free_bytes=10**9, token_budget=8192, capacity=8)

    def restart() -> int:
        readings.append(later_at_rest)
        return later_at_rest

    return PeakMemoryTracker(plan, Coefficients(tmp_path), "demo", "a GPU", at_rest, lambda: readings[-1], restart)


def learned_correction(tmp_path: Path, tier: Tier = TIERS[0]) -> float:
    return Coefficients(tmp_path).get("demo", tier.name, "a GPU")


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


def test_the_peak_of_another_model_is_not_learned(tmp_path: Path) -> None:
    readings = [1000 + 40_000]
    tracker = make_tracker(tmp_path, readings, later_at_rest=1200)
    tracker.note_pass(4000)
    tracker.note_decode(512, 512)
    tracker.learn()
    readings.append(10**6)  # A larger model was loaded in the meantime, in the same process.
    pipeline = SimpleNamespace(unet=nn.Linear(1, 1))
    loaded: Any = SimpleNamespace(pipeline=pipeline)
    _resume(loaded, Tuning("native", "false", "default", "bfloat16"), tracker)
    tracker.learn()
    assert learned_correction(tmp_path) == 1.0
    tracker.note_pass(4000)
    tracker.note_decode(512, 512)
    readings.append(1200 + 60_000)
    tracker.learn()
    assert learned_correction(tmp_path) == 1.5


def test_passes_before_another_model_are_not_compared_with_the_peak_after_it(tmp_path: Path) -> None:
    readings = [1000 + 1]
    tracker = make_tracker(tmp_path, readings, later_at_rest=1000)
    tracker.note_pass(40_000)  # Canceled before its decode: nothing is learned.
    tracker.learn()
    tracker.restart()
    readings.append(1000 + 60_000)
    tracker.learn()
    assert learned_correction(tmp_path) == 1.0
    tracker.note_pass(4000)
    tracker.note_decode(512, 512)
    tracker.learn()
    assert learned_correction(tmp_path) == 1.5


@pytest.mark.parametrize("name", ["by-turns", "offload", "fp8-offload"])
def test_weights_that_move_to_the_device_for_their_use_are_not_learned_as_activations(name: str, tmp_path: Path) -> None:
    tier = tier_named(name)
    assert tier is not None
    tracker = make_tracker(tmp_path, [1000 + 40_000], tier, at_rest=0)
    tracker.note_pass(4000)
    tracker.note_decode(512, 512)
    tracker.learn()
    assert learned_correction(tmp_path, tier) == 1.0
