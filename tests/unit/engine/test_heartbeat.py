"""A process that computes is told from one that waits, and is believed for so long."""

from __future__ import annotations

import time

from worker.engine.heartbeat import CpuActivity, ProgressDeadline


def test_computing_is_work() -> None:
    activity = CpuActivity()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert activity.was_computing()


def test_waiting_is_none() -> None:
    activity = CpuActivity()
    activity.was_computing()
    time.sleep(0.5)
    assert not activity.was_computing()


def test_work_without_news_is_believed_for_so_long() -> None:
    deadline = ProgressDeadline(10.0, now=0.0)
    assert [deadline.is_running(now, was_computing=True, last_event_at=-50.0) for now in (5.0, 9.9, 10.0, 15.0)] == [
        True,
        True,
        False,
        False,
    ]
    assert deadline.is_running(16.0, was_computing=True, last_event_at=15.5)
    assert not deadline.is_running(26.0, was_computing=True, last_event_at=15.5)


def test_work_that_begins_after_a_rest_is_new() -> None:
    deadline = ProgressDeadline(10.0, now=0.0)
    assert not deadline.is_running(100.0, was_computing=False, last_event_at=-50.0)
    assert deadline.is_running(105.0, was_computing=True, last_event_at=-50.0)
