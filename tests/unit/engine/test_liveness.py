"""A process that computes is told from one that waits, and is believed for so long."""

from __future__ import annotations

import time

from worker.engine.liveness import Belief, Work


def test_computing_is_work() -> None:
    work = Work()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert work.was_done()


def test_waiting_is_none() -> None:
    work = Work()
    work.was_done()
    time.sleep(0.5)
    assert not work.was_done()


def test_work_without_news_is_believed_for_so_long() -> None:
    belief = Belief(10.0, now=0.0)
    assert [belief.holds(now, was_done=True, news_at=-50.0) for now in (5.0, 9.9, 10.0, 15.0)] == [True, True, False, False]
    assert belief.holds(16.0, was_done=True, news_at=15.5)
    assert not belief.holds(26.0, was_done=True, news_at=15.5)


def test_work_that_begins_after_a_rest_is_new() -> None:
    belief = Belief(10.0, now=0.0)
    assert not belief.holds(100.0, was_done=False, news_at=-50.0)
    assert belief.holds(105.0, was_done=True, news_at=-50.0)
