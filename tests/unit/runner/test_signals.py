"""Signal handlers of worker and reaper take no lock: the main thread may hold any at that moment."""

from __future__ import annotations

import queue
import re
import signal

from tests.servers.farm import ROOT
from worker.worker_process import WorkerProcess


def test_the_handler_of_a_worker_only_passes_the_signal_on() -> None:
    process = WorkerProcess.__new__(WorkerProcess)  # without its parts: the handler must not use them
    process._signals = queue.SimpleQueue()
    process._on_signal(signal.SIGTERM, None)
    assert process._signals.get(timeout=1) == "SIGTERM"


def test_the_first_signal_drains_and_the_second_stops_at_once() -> None:
    calls: list[str] = []

    class Recorded(WorkerProcess):
        def __init__(self) -> None:
            self._signals = queue.SimpleQueue()

        def _stop_because(self, why: str) -> None:
            calls.append(why)

        def _stop_at_once(self) -> None:
            calls.append("at once")

    process = Recorded()
    process._on_signal(signal.SIGINT, None)
    process._on_signal(signal.SIGTERM, None)
    process._handle_signals()
    assert calls == ["signal SIGINT", "at once"]


def test_no_module_with_signal_handlers_sets_a_threading_event_in_one() -> None:
    packages = ("api", "app", "cli", "core", "db", "imagefarm", "storage", "supervisor", "worker")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    handled = re.compile(r"signal\.signal\([^)]*, (?!signal\.(?:SIG_IGN|SIG_DFL|default_int_handler)|handler\))")
    found = {file.relative_to(ROOT).as_posix() for file in files if handled.search(file.read_text())}
    # A module that joins them must use StopEvent, a SimpleQueue, or the self-pipe of an event loop.
    assert found == {
        "supervisor/events.py",
        "supervisor/flower/main.py",
        "worker/model_manager/manager.py",
        "worker/models/operation_process.py",
        "worker/reaper/main.py",
        "worker/worker_process.py",
    }
    assert "threading.Event" not in (ROOT / "worker/reaper/main.py").read_text()
