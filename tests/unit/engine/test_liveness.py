"""A process that computes is told from one that waits."""

from __future__ import annotations

import time

from worker.engine.liveness import Work


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
