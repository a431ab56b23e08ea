"""Children that start on demand: a job starts them, exit code 0 ends them until the next, other ends restart them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from core.queue import UPSCALE
from supervisor.child import ChildSpec
from supervisor.console import Console
from supervisor.demand import listen
from supervisor.events import ChildEnded, Events, Wanted
from supervisor.process_manager import ProcessManager
from worker.runner.attempts import InFlightAttempts
from worker.runner.idle_stop import IdleStop


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def processes(tmp_path: Path, events: Events) -> Iterator[ProcessManager]:
    with closing(Console(tmp_path, json_lines=False)) as console:
        yield ProcessManager(console, events)


def spec(code: str) -> ChildSpec:
    return ChildSpec("upscaler", (sys.executable, "-I", "-S", "-c", code), on_demand=True)


def end_of(events: Events, processes: ProcessManager) -> None:
    event = events.next(60)
    assert isinstance(event, ChildEnded)
    processes.ended(event.child)


def test_a_child_that_ends_with_0_waits_for_the_next_job(events: Events, processes: ProcessManager) -> None:
    processes.stand_by(spec("raise SystemExit(0)"))
    assert processes.count == 0
    for _ in range(2):
        processes.start_wanted()
        processes.start_wanted()
        assert processes.count == 1, "a second request starts no second process"
        end_of(events, processes)
        assert processes.count == 0
    assert processes.stop()


def test_a_child_that_fails_is_restarted(events: Events, processes: ProcessManager) -> None:
    processes.stand_by(spec("raise SystemExit(1)"))
    processes.start_wanted()
    end_of(events, processes)
    assert processes.count == 1
    assert processes.seconds_until_due(60.0) < 60.0
    assert processes.stop()


def test_only_messages_for_upscaling_workers_are_heard(events: Events, redis_url: str) -> None:
    listen("farm:wanted", redis_url, events.wanted)
    with Redis.from_url(redis_url) as publisher:
        while publisher.publish("farm:wanted", "another model") == 0:
            assert events.next(0.01) is None
        publisher.publish("farm:wanted", UPSCALE)
        assert isinstance(events.next(60), Wanted)
        assert events.next(0.05) is None


def test_a_worker_is_idle_once_the_time_without_a_job_has_passed() -> None:
    idle = threading.Event()
    watch = IdleStop(InFlightAttempts(), 0.05, idle.set)
    watch.start()
    assert idle.wait(60)


def test_a_note_and_a_stop_keep_a_worker() -> None:
    idle = threading.Event()
    watch = IdleStop(InFlightAttempts(), 3600.0, idle.set)
    watch.note()
    watch.start()
    watch.stop()
    watch._thread.join(60)
    assert not idle.is_set()
