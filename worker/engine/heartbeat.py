"""Send heartbeats while a CPU step computes, so that a long step is not mistaken for a hang."""

from __future__ import annotations

import resource
import threading
import time

from worker.engine.io_queues import OutputQueue
from worker.engine.messages import Heartbeat

MAX_INTERVAL_SECONDS = 10.0
HEARTBEATS_PER_TIMEOUT = 4
MIN_CPU_SHARE = 0.05
"""Share of one core below which the process counts as waiting; a hung process does too."""
MAX_TIMEOUTS_WITHOUT_EVENT = 10
"""Give up after this many timeouts without an event. Steps report fractions, so only an encode or a decode is silent."""


def start_cpu_heartbeat(output_queue: OutputQueue, step_timeout_seconds: float) -> None:
    """Start the thread that sends them. For CPU engines only: a process that waits for a hung GPU may keep a core busy."""
    pause = min(step_timeout_seconds / HEARTBEATS_PER_TIMEOUT, MAX_INTERVAL_SECONDS)
    limit_seconds = MAX_TIMEOUTS_WITHOUT_EVENT * step_timeout_seconds
    threading.Thread(target=_run, args=(output_queue, pause, limit_seconds), name="heartbeat", daemon=True).start()


def _run(output_queue: OutputQueue, pause: float, limit_seconds: float) -> None:
    activity, deadline = CpuActivity(), ProgressDeadline(limit_seconds, time.monotonic())
    while True:
        time.sleep(pause)
        if deadline.counts_as_progress(time.monotonic(), activity.was_computing(), output_queue.last_event_at):
            output_queue.put(Heartbeat())


class ProgressDeadline:
    """Limit how long computing counts as progress: `seconds` from the last event or the last idle interval.

    All times are of one clock.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds, self._idle_at = seconds, now

    def counts_as_progress(self, now: float, was_computing: bool, last_event_at: float) -> bool:
        """Return whether to send a heartbeat: the process `was_computing` since the last call, within the limit."""
        if not was_computing:
            self._idle_at = now
        return was_computing and now - max(self._idle_at, last_event_at) < self._seconds


class CpuActivity:
    """Measure whether this process has been computing."""

    def __init__(self) -> None:
        self._clock, self._computed, self._read = self._now()

    def was_computing(self) -> bool:
        """Return whether it computed since the last call, or waited for pages of its weights from disk."""
        clock, computed, read = self._now()
        share = (computed - self._computed) / max(clock - self._clock, 1e-6)
        reads = read > self._read
        self._clock, self._computed, self._read = clock, computed, read
        return share >= MIN_CPU_SHARE or reads

    def _now(self) -> tuple[float, float, int]:
        return time.monotonic(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_majflt
