"""Engines that start before their workers are ready."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.queue import UPSCALE
from core.settings import Settings
from worker.engine import early_start
from worker.engine.early_start import start_early, take_early

WITHOUT_LEAN_ENGINE = (
    Settings(_env_file=None, renderer="synthetic"),
    Settings(_env_file=None, model=UPSCALE),
    Settings(_env_file=None, compile_blocks="on"),
)


@pytest.mark.parametrize("settings", WITHOUT_LEAN_ENGINE)
def test_workers_without_a_lean_engine_start_none_early(settings: Settings) -> None:
    start_early(settings)
    assert take_early("worker.engine") is None


def test_an_early_engine_is_taken_once_and_ends_with_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_start, "IMPORT_OPTION", "--nothing")  # to be quick
    start_early(Settings(_env_file=None))
    assert take_early("worker.synthetic") is None
    engine = take_early("worker.engine")
    assert engine is not None
    assert take_early("worker.engine") is None
    engine.end.close()  # as the kernel does when the worker ends
    assert engine.process.wait(120) == 0


FORKED = """
import subprocess, threading
import psutil
from core.settings import Settings
from worker.engine import early_start
from worker.engine import process  # of which the option below makes no engine that imports

early_start.IMPORT_OPTION = "--nothing"
settings = Settings(_env_file=None)


def start():
    early_start.start_early(settings)
    return early_start.take_early("worker.engine")


engine = start()
assert isinstance(engine.process, early_start.ForkedEngine)
shown = psutil.Process(engine.process.pid)
assert shown.ppid() == psutil.Process().pid
try:
    engine.process.wait(0)
except subprocess.TimeoutExpired:
    pass
else:
    raise AssertionError("it does not wait for its worker")
engine.end.close()
assert engine.process.wait(120) == engine.process.wait() == 0
engine.process.kill()

engine = start()
engine.process.kill()
assert engine.process.wait() == -9

ends = threading.Event()
threading.Thread(target=ends.wait).start()
assert isinstance(start().process, subprocess.Popen), "it was forked beside a thread"
ends.set()
"""


def test_an_early_engine_of_a_process_with_one_thread_is_forked() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


TITLE = """
import os
from core.process_title import show_as
show_as("imagefarm engine")
print(open("/proc/self/cmdline").read().split("\\0")[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_shows_its_title() -> None:
    assert subprocess.check_output([sys.executable, "-c", TITLE], text=True).strip() == "imagefarm engine"
