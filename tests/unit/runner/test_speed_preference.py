"""Speeds of engines and which of two workers takes a job, on faked clocks."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from core.work import longest_wait
from worker.runner.engine_speed import EngineSpeed
from worker.runner.speed_preference import FasterWorker, SpeedPreference, gain
from worker.runner.worker_state import OwnSpeed, own_speed

SLOW = OwnSpeed(seconds=4.0, image_seconds=4.0)


def fast(running: int = 0, images: int = 10, seconds: float = 1.0, name: str = "fast") -> FasterWorker:
    return FasterWorker(name, seconds, images, running)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Slow:
    """A worker that needs four seconds for what a fast one does in one."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.preference = SpeedPreference(self.clock)

    def leaves(self, *waiting: str, faster: FasterWorker | None = None, after: float = 0.0) -> bool:
        self.clock.now += after
        return self.preference.leaves(SLOW, [faster or fast()], waiting)


def test_a_lone_job_is_left_to_a_faster_worker_and_one_alone_never_waits() -> None:
    assert Slow().leaves("a")
    assert not SpeedPreference(Clock()).leaves(SLOW, [], ["a"])


def test_the_slow_worker_works_when_it_would_finish_first() -> None:
    assert Slow().leaves("a", "b", "c")
    assert not Slow().leaves("a", "b", "c", "d"), "the fast one would need four seconds for the four"
    assert not Slow().leaves("a", "b", faster=fast(running=2))
    assert gain(SLOW, [fast(), fast(seconds=2.0)]) == 6


def test_no_job_waits_longer_than_the_bound() -> None:
    slow = Slow()
    bound = longest_wait(SLOW.image_seconds)
    assert slow.leaves("a")
    assert slow.leaves("b", after=bound - 0.1), "the first was taken: this is another job"
    assert slow.leaves("b", "c", after=bound - 0.1)
    assert not slow.leaves("b", "c", after=0.2)


@pytest.mark.parametrize(("image_seconds", "seconds"), [(0.1, 2.0), (16.0, 4.0), (1000.0, 15.0)])
def test_the_bound_is_a_share_of_what_an_image_takes_here(image_seconds: float, seconds: float) -> None:
    assert longest_wait(image_seconds) == seconds


def test_a_fast_worker_that_takes_no_job_is_waited_for_once_until_it_finishes_an_image() -> None:
    slow = Slow()
    assert slow.leaves("a")
    assert not slow.leaves("a", after=longest_wait(SLOW.image_seconds))
    assert not slow.leaves("b", after=1.0), "it has finished nothing since"
    assert slow.leaves("c", faster=fast(images=11), after=1.0)


def test_two_workers_share_a_queue_in_the_ratio_of_their_speeds_and_the_fast_one_ends_it() -> None:
    """Twenty jobs of one second on the fast worker: the slow one takes those that it finishes before the fast one would."""
    slow, waiting = Slow(), [f"{number:02}" for number in range(20)]
    done, free_at = {"fast": 0, "slow": 0}, {"fast": 0.0, "slow": 0.0}
    while waiting or slow.clock.now < max(free_at.values()):
        now = slow.clock.now
        if waiting and free_at["fast"] <= now:
            waiting.pop(0)
            done["fast"], free_at["fast"] = done["fast"] + 1, now + 1.0
        held = int(free_at["fast"] > now)
        if waiting and free_at["slow"] <= now and not slow.leaves(*waiting[:5], faster=fast(held, done["fast"])):
            waiting.pop(0)
            done["slow"], free_at["slow"] = done["slow"] + 1, now + 4.0
        slow.clock.now += 0.25
    assert done == {"fast": 16, "slow": 4}
    assert max(free_at.values()) == 16.0, "the combined rate: 20 jobs at 1.25 a second"


def test_an_engine_is_measured_with_shared_passes_once_and_alone_apart() -> None:
    clock = Clock()
    speed = EngineSpeed(clock)
    assert speed.report() == {}

    def render(ended_at: float, seconds: float, batch: int = 1) -> None:
        clock.now = ended_at
        speed.record(seconds, 1000, 1000, [batch] * 2)  # Two megapixel steps.

    render(10.0, 4.0)
    assert speed.report()["speed"] == {
        "images": 1,
        "seconds_per_megapixel_step": 2.0,
        "alone_seconds_per_megapixel_step": 2.0,
    }
    for ended_at in (26.0, 26.0, 26.0, 26.0):
        render(ended_at, 6.0, batch=4)
    found = speed.report()["speed"]
    assert found["seconds_per_megapixel_step"] == 6.0 / 8, "four images in the time of one and a half"
    assert found["alone_seconds_per_megapixel_step"] == 2.0
    render(30.0, 8.0)  # In turn with those before: not alone, though in passes of its own.
    assert speed.report()["speed"]["alone_seconds_per_megapixel_step"] == 2.0
    assert own_speed({"speed": found, "later_images": {"median_seconds": 6.0}}) == OwnSpeed(2.0, 6.0)
    assert own_speed({"speed": {"images": 4, "seconds_per_megapixel_step": 1.0}}) is None


def test_a_small_image_makes_no_worker_slow() -> None:
    clock = Clock(10.0)
    large, small = EngineSpeed(clock), EngineSpeed(clock)
    large.record(1.0, 512, 512, [1] * 10)
    small.record(0.25, 64, 64, [1] * 10)  # A sixty-fourth of the pixels in a quarter of the time.
    assert (
        small.report()["speed"]["alone_seconds_per_megapixel_step"]
        == large.report()["speed"]["alone_seconds_per_megapixel_step"]
    )
