"""Decide whether an idle worker leaves a job to faster ones. Everything that it considers is in its arguments."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.work import longest_wait
from worker.runner.worker_state import OwnSpeed


@dataclass(frozen=True)
class FasterWorker:
    """A ready worker of the same model. `seconds`: as in OwnSpeed. `images`: how many its engine has finished.

    `running`: jobs that it holds.
    """

    name: str
    seconds: float
    images: int
    running: int


def gain(own: OwnSpeed, faster: Sequence[FasterWorker]) -> float:
    """Return how many jobs the faster workers finish while this one renders one."""
    return sum(own.seconds / each.seconds for each in faster)


class SpeedPreference:
    """Remembers since when each job was left to others, and which workers did not take one in time. Not thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left_at: dict[str, float] = {}
        self._overdue: dict[str, int] = {}

    def leaves(self, own: OwnSpeed, faster: Sequence[FasterWorker], waiting: Sequence[str]) -> bool:
        """Return whether to leave the first of the `waiting` jobs (ids) to `faster`.

        They must be about to finish it, after those that they hold and those that wait, before this worker would. No job is
        left for longer than `longest_wait`; workers that let that pass count again once they have finished an image.
        """
        relied = [each for each in faster if self._overdue.get(each.name) != each.images]
        ahead = len(waiting) + sum(each.running for each in relied)
        self._left_at = {job: at for job, at in self._left_at.items() if job in waiting}
        if not waiting or ahead >= gain(own, relied):
            return False
        now = self._clock()
        self._left_at = {job: self._left_at.get(job, now) for job in waiting}
        if now - min(self._left_at.values()) < longest_wait(own.image_seconds):
            return True
        self._overdue |= {each.name: each.images for each in relied}
        return False
