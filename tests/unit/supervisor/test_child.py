"""A child's output, its end, its descendants, and its end with the parent."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from supervisor.child import GUARD, Child, ChildSpec


class Watched:
    """A child that runs Python code, with queues of its output lines and its end."""

    def __init__(self, code: str, **environment: str) -> None:
        self.lines: queue.Queue[str] = queue.Queue()
        self.ends: queue.Queue[Child] = queue.Queue()
        spec = ChildSpec("test", (sys.executable, "-c", code), environment)
        self.child = Child(spec, lambda _, line: self.lines.put(line), self.ends.put)

    def line(self) -> str:
        return self.lines.get(timeout=120)

    def end(self) -> str:
        return self.ends.get(timeout=120).how_it_ended()


def test_lines_arrive_and_a_carriage_return_ends_a_line() -> None:
    watched = Watched(r"import sys; sys.stdout.write('10%\r20%\rdone\n\n'); sys.stderr.write('é\n')")
    assert [watched.line() for _ in range(4)] == ["10%", "20%", "done", "é"]
    assert watched.end() == "ended with exit code 0"
    assert watched.lines.empty()


def test_the_environment_is_added() -> None:
    assert Watched("import os; print(os.environ['GIVEN'], 'PATH' in os.environ)", GIVEN="x").line() == "x True"


@pytest.mark.parametrize(("code", "end"), [("raise SystemExit(3)", "exit code 3"), ("import os; os.abort()", "SIGABRT")])
def test_the_child_reports_how_it_ended(code: str, end: str) -> None:
    assert end in Watched(code).end()


def test_a_child_leads_its_own_process_group() -> None:
    watched = Watched("import os; print(os.getpgrp() == os.getpid())")
    assert watched.line() == "True"


def ended(process_id: int, seconds: float = 120.0) -> bool:
    """Return whether the process ends within that time; a zombie counts as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_its_descendants_end_with_it() -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '300']); print(p.pid, flush=True); sys.exit(0)"
    watched = Watched(code)
    grandchild = int(watched.line())
    assert watched.end() == "ended with exit code 0"
    # SIGKILL was sent before the end was reported; the kernel may take a moment to deliver it.
    assert ended(grandchild)


def test_kill_ends_a_child_that_ignores_sigterm() -> None:
    watched = Watched("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); signal.pause()")
    watched.line()
    watched.child.terminate()
    assert watched.child.running
    watched.child.kill()
    assert watched.end() == "was killed by SIGKILL"


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal exists only on Linux")
def test_a_child_dies_when_its_parent_is_killed() -> None:
    parent_code = (
        "import subprocess, sys, os, signal\n"
        f"p = subprocess.Popen([sys.executable, {str(GUARD)!r}, str(os.getpid()), 'sleep', '300'])\n"
        "print(p.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    assert not psutil.wait_procs([child], timeout=120)[1]


def test_the_guard_starts_nothing_when_its_parent_has_ended(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    done = subprocess.run([sys.executable, str(GUARD), "1", "touch", str(proof)], check=False)
    assert done.returncode == 1
    assert not proof.exists()
