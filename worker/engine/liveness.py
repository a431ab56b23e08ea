"""A step on a CPU may take many minutes and be no hang: while the process computes, its worker hears so."""

from __future__ import annotations

import resource
import threading
import time

from worker.engine.messages import Beat
from worker.engine.outbox import Outbox

LONGEST_PAUSE_SECONDS = 10.0
BEATS_IN_TIMEOUT = 4
LEAST_SHARE = 0.05
"""Of one core: less is a process that waits, as a hung one does."""
TIMEOUTS_WITHOUT_NEWS = 10
"""Steps tell their parts, so that only an encode or a decode can be silent for long: what takes this long is in vain."""


def tell_while_computing(outbox: Outbox, step_timeout_seconds: float) -> None:
    """From a thread of its own. Not for a card: a process that waits for one in vain may burn a core while it does."""
    pause = min(step_timeout_seconds / BEATS_IN_TIMEOUT, LONGEST_PAUSE_SECONDS)
    believed = TIMEOUTS_WITHOUT_NEWS * step_timeout_seconds
    threading.Thread(target=_run, args=(outbox, pause, believed), name="liveness", daemon=True).start()


def _run(outbox: Outbox, pause: float, believed_seconds: float) -> None:
    work, belief = Work(), Belief(believed_seconds, time.monotonic())
    while True:
        time.sleep(pause)
        if belief.holds(time.monotonic(), work.was_done(), outbox.news_at):
            outbox.put(Beat())


class Belief:
    """That work will have a result: for `seconds` since there was news, or no work. Times are of one clock, in seconds."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds, self._idle_at = seconds, now

    def holds(self, now: float, was_done: bool, news_at: float) -> bool:
        """Whether work `was_done` since the last question and is still believed."""
        if not was_done:
            self._idle_at = now
        return was_done and now - max(self._idle_at, news_at) < self._seconds


class Work:
    """What this process has done since it was last asked."""

    def __init__(self) -> None:
        self._clock, self._computed, self._read = self._now()

    def was_done(self) -> bool:
        """Whether it computed, or waited for pages of its weights from the disk."""
        clock, computed, read = self._now()
        share = (computed - self._computed) / max(clock - self._clock, 1e-6)
        reads = read > self._read
        self._clock, self._computed, self._read = clock, computed, read
        return share >= LEAST_SHARE or reads

    def _now(self) -> tuple[float, float, int]:
        return time.monotonic(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_majflt
