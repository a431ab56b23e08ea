"""Processes that are held to a share of the processor."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.load.cpu_share import NoControlGroup, cpu_share

SECONDS = 1.5
SHARE = 0.2
_BUSY = "import os\nif os.fork() == 0:\n    os.setsid()\nwhile True: pass"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process and a child of it that never wait."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    root = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while not root.children():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    children = root.children()
    yield process
    for each in (*children, root):
        each.kill()
    process.wait()


def _used(process: psutil.Process) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children()))


def test_a_process_and_its_child_share_what_they_are_held_to(busy: subprocess.Popen[bytes]) -> None:
    root = psutil.Process(busy.pid)
    try:
        with cpu_share(SHARE, [busy.pid]):
            before, started = _used(root), time.monotonic()
            time.sleep(SECONDS)
            used, spent = _used(root) - before, time.monotonic() - started
    except NoControlGroup as missing:
        pytest.skip(str(missing))
    assert used < 1.5 * SHARE * spent + 0.05, "they would use all that the machine has"
    groups = [line.rpartition(":")[2] for line in Path(f"/proc/{busy.pid}/cgroup").read_text().splitlines()]
    assert not any("imagefarm-benchmark" in group for group in groups), "they are let go of"
