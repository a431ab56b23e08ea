"""An event that signal handlers set without a deadlock."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from core.stop_event import StopEvent
from tests.servers.farm import ROOT

HANDLERS_SET_IT_ALL_THE_TIME = """
import signal, time
from core.stop_event import StopEvent

signals = 0
def handler(number, frame):
    global signals
    signals += 1
    event.set()

event = StopEvent()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
end = time.monotonic() + 120.0
while signals < 800 and time.monotonic() < end:
    event = StopEvent()
    for _ in range(50):
        event.set()
        event.wait(0)
        event.is_set()
    StopEvent().wait(0.003)
signal.setitimer(signal.ITIMER_REAL, 0)
print(signals)
"""


def test_a_handler_may_set_it_at_any_moment() -> None:
    command = [sys.executable, "-c", HANDLERS_SET_IT_ALL_THE_TIME]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) >= 800


def test_wait_returns_whether_it_was_set() -> None:
    event = StopEvent()
    started = time.monotonic()
    assert not event.wait(0.05) and not event.is_set()
    assert time.monotonic() - started >= 0.04
    event.set()
    assert event.is_set() and event.wait(0) and event.wait(None)


def test_every_waiting_thread_wakes_up() -> None:
    event = StopEvent()
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(event.wait(120))) for _ in range(5)]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        thread.join(120)
    assert woken == [True] * 5
