"""Recorded peaks reach the choice of the next start."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.catalogue import load_catalogue
from worker.memory.choose import Machine, choose
from worker.memory.coefficients import Coefficients
from worker.memory.peaks import PeakRecorder
from worker.memory.plan import GIGABYTE
from worker.memory.sizes import sizes_of_row

TURBO = load_catalogue().get("z-image-turbo")


class Allocator:
    """Counters as torch keeps them."""

    def __init__(self) -> None:
        self.now = self.peak = 5 * GIGABYTE

    def reset(self) -> None:
        self.peak = self.now

    def use(self, count: int) -> None:
        """Allocate that much for a moment."""
        self.peak = max(self.peak, self.now + count)


@pytest.fixture
def allocator() -> Allocator:
    """With weights loaded."""
    return Allocator()


def recorder(allocator: Allocator, models_dir: Path) -> PeakRecorder:
    """Of Turbo, resident on a large card."""
    plan = choose(TURBO, sizes_of_row(TURBO), "bfloat16", Machine("cuda:0", 80 * GIGABYTE, 80 * GIGABYTE))
    return PeakRecorder(
        TURBO.id,
        plan,
        "card",
        Coefficients(models_dir),
        allocator.reset,
        lambda: allocator.now,
        lambda: allocator.peak,
    )


def test_the_highest_ratio_is_learned(tmp_path: Path, allocator: Allocator) -> None:
    peaks = recorder(allocator, tmp_path)
    estimated = peaks._estimate.tokens_bytes(4096)
    for share in (0.5, 2.0, 1.0):
        peaks.begin()
        allocator.use(int(estimated * share))
        peaks.end(4096)
    assert Coefficients(tmp_path).get(TURBO.id, "resident", "card") == pytest.approx(2.0, abs=0.01)


def test_a_pass_like_those_before_writes_nothing(tmp_path: Path, allocator: Allocator) -> None:
    peaks = recorder(allocator, tmp_path)
    for expected in (True, False):
        peaks.begin()
        allocator.use(GIGABYTE)
        peaks.end(4096)
        assert (tmp_path / "memory.json").exists() == expected
        (tmp_path / "memory.json").unlink(missing_ok=True)
