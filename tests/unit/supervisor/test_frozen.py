"""Children that a signal has stopped: killed after a time, unless they are continued."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from supervisor import process_manager
from supervisor.child import ChildSpec
from supervisor.console import Console
from supervisor.events import ChildEnded, ChildFrozen, Events
from supervisor.process_manager import ProcessManager

SLEEPER = ChildSpec("worker", (sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"))


class Frozen:
    """A process manager whose only child a signal has stopped; `log` is what it printed."""

    def __init__(self, console: Console, log: Path) -> None:
        self.events, self._log = Events(), log
        self.processes = ProcessManager(console, self.events, frozen_seconds=5.0)
        self.processes.start(SLEEPER)
        (self.child,) = self.processes._running.values()
        self._now = self.processes._looked_at
        self.stop()

    def stop(self) -> None:
        os.kill(self.child.pid, signal.SIGSTOP)
        event = self.events.next(60)
        assert event == ChildFrozen(self.child)
        self.processes.frozen(self.child)

    def let_pass(self, seconds: float) -> None:
        """Look once, as if that much time, and no more, had passed since the last look."""
        self._now += seconds
        with patch.object(process_manager, "time", SimpleNamespace(monotonic=lambda: self._now)):
            self.processes.handle_due()

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Frozen]:
    with closing(Console(tmp_path, json_lines=False)) as console:
        frozen = Frozen(console, tmp_path / "farm.log")
        yield frozen
        frozen.child.kill()


def test_a_frozen_child_is_killed_and_restarted(frozen: Frozen) -> None:
    assert frozen.processes.seconds_until_due(60.0) <= 1.0
    for _ in range(4):
        frozen.let_pass(1.0)
    assert "is killed\n" not in frozen.log
    frozen.let_pass(2.0)
    assert "worker is killed\n" in frozen.log
    event = frozen.events.next(60)
    assert isinstance(event, ChildEnded)
    frozen.processes.ended(event.child)
    assert "was killed by SIGKILL; restarts in 0.5 s" in frozen.log


def test_a_child_that_is_continued_lives(frozen: Frozen) -> None:
    frozen.let_pass(1.0)
    os.kill(frozen.child.pid, signal.SIGCONT)
    for _ in range(9):
        frozen.let_pass(1.0)
    assert "was continued" in frozen.log
    assert frozen.child.running
    frozen.stop()
    frozen.let_pass(1.0)
    assert frozen.child.running, "the time starts over"


def test_time_in_which_the_whole_farm_was_frozen_does_not_count(frozen: Frozen) -> None:
    frozen.let_pass(3600.0)
    frozen.let_pass(1.0)
    assert frozen.child.running
