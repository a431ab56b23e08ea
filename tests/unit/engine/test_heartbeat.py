"""Distinguish a process that computes from one that waits, and trust it for a limited time."""

from __future__ import annotations

import time

from worker.engine.heartbeat import CpuActivity, ProgressDeadline


def test_computing_counts_as_work() -> None:
    def is_noticed() -> bool:
        activity = CpuActivity()
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return activity.was_computing()

    assert any(is_noticed() for _ in range(10)), "a busy machine may leave this process too little of a core in some of them"


def test_waiting_does_not_count_as_work() -> None:
    def is_noticed() -> bool:
        activity = CpuActivity()
        activity.was_computing()
        time.sleep(0.5)
        return not activity.was_computing()

    assert any(is_noticed() for _ in range(10)), "threads of other tests may compute in some of them"


def test_work_without_events_is_trusted_until_the_deadline() -> None:
    deadline = ProgressDeadline(10.0, now=0.0)
    assert [deadline.counts_as_progress(now, was_computing=True, last_event_at=-50.0) for now in (5.0, 9.9, 10.0, 15.0)] == [
        True,
        True,
        False,
        False,
    ]
    assert deadline.counts_as_progress(16.0, was_computing=True, last_event_at=15.5)
    assert not deadline.counts_as_progress(26.0, was_computing=True, last_event_at=15.5)


def test_work_after_an_idle_time_gets_a_new_deadline() -> None:
    deadline = ProgressDeadline(10.0, now=0.0)
    assert not deadline.counts_as_progress(100.0, was_computing=False, last_event_at=-50.0)
    assert deadline.counts_as_progress(105.0, was_computing=True, last_event_at=-50.0)
