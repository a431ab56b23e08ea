"""Celery's event loop in its sleep, as in an idle worker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kombu.asynchronous import hub, timer

_kombu: Any = hub, timer  # without types


@dataclass(frozen=True)
class SleepingLoop:
    """`hub`: kombu's. `sleeps`: set just before it sleeps. `turn`: done once it has woken up."""

    hub: Any
    sleeps: threading.Event
    turn: Future[object]


@contextmanager
def sleeping_loop() -> Iterator[SleepingLoop]:
    """Yield a loop that runs one turn on a thread, and sleeps in it for kombu's longest 10 s unless it is woken."""
    loops, timers = _kombu
    loop, sleeps = loops.Hub(timers.Timer(max_interval=3600.0)), threading.Event()
    loop.timer.call_after(3600.0, lambda: None)  # Without a timer it looks every second.
    loop.on_tick.add(sleeps.set)
    silent, other = socket.socketpair()
    loop.add_reader(silent, lambda: None)  # Without one it does not sleep.
    with ThreadPoolExecutor(1) as threads, silent, other:
        yield SleepingLoop(loop, sleeps, threads.submit(next, loop.create_loop()))
    loop.close()
