"""A whole farm for tests: `imagefarm up` as a user starts it, on reserved ports, in its own directory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.servers.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
MARK = "IMAGEFARM_TEST_MARK"
SYNTHETIC = {"IMAGEFARM_RENDERER": "synthetic"}
"""For farms whose images do not matter: their engine imports no torch."""
START_SECONDS = 200.0
"""A start takes 10 seconds on a quiet machine, and many times that where all cores are busy."""


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this environment without the farm's settings, with one thread per numeric library and no model hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGEFARM_", "FLOWER_"))}
    fixed = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "120"}
    return kept | fixed | extra


class FarmProcess:
    """One `imagefarm up`; its output is collected line by line.

    API, Flower and the embedded Redis get ports that no other test process uses, unless `options` name `--port`. There is no
    upscaling worker unless `environment` asks for one.
    """

    def __init__(self, directory: Path, *options: str, **environment: str) -> None:
        self.data_dir = directory / "data"
        self.lines: list[str] = []
        self._mark = uuid.uuid4().hex
        self._changed = threading.Condition()
        ports: tuple[str, ...] = ()
        if "--port" not in options:
            ports = ("--port", str(free_port()), "--flower-port", str(free_port()))
            self._reserve_redis_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--data-dir", str(self.data_dir), *ports, *options],
            cwd=directory,
            env=clean_environment(**{MARK: self._mark, "IMAGEFARM_UPSCALE_WORKERS": "0"} | environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, seconds: float = START_SECONDS, after: int = 0) -> re.Match[str]:
        """Return the first match in a line at or after index `after`; raise AssertionError with all output if none comes."""
        deadline = time.monotonic() + seconds
        seen = after
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.lines)
                left = deadline - time.monotonic()
                ended = not self._reader.is_alive()
                if left <= 0 or ended:
                    raise AssertionError(f"no line matched {pattern!r}; ended={ended}\n{self.output}")
                self._changed.wait(min(left, 1.0))

    def wait_ready(self) -> FarmProcess:
        self.wait_for(r"imagefarm is up")
        self.wait_for(r"data, logs")
        return self

    @property
    def api(self) -> str:
        return self.wait_for(r"page and API\s+(http://\S+)")[1]

    @property
    def flower(self) -> str:
        return self.wait_for(r"Flower\s+(http://\S+)")[1]

    def pid_of(self, name: str, after: int = 0) -> int:
        """Return the process id of a part, from the last report of its start at or after line `after`."""
        self.wait_for(rf"\b{name} starts as process (\d+)", after=after)
        found = re.findall(rf"\b{name} starts as process (\d+)", "\n".join(self.lines[after:]))
        return int(found[-1])

    def wait_end(self, seconds: float = START_SECONDS) -> int:
        """Wait for the end of `imagefarm up` and return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(60)
        return code

    def interrupt(self) -> int:
        """Send what Ctrl-C sends, wait for the end, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait_end()

    def left_behind(self) -> list[psutil.Process]:
        """Return every process of this farm that still runs, whatever its parent is now."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_nothing_left(self, seconds: float = 60.0) -> None:
        """Return once no process of this farm runs; raise AssertionError with those that still do."""
        deadline = time.monotonic() + seconds
        while left := self.left_behind():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def destroy(self) -> None:
        """Kill every process of this farm, in any state."""
        self.process.kill()
        for process in self.left_behind():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(60)

    def _reserve_redis_port(self) -> None:
        """Write down the port as an earlier start would have; a directory that is in use or unusable stays as it is."""
        if not self.data_dir.exists():
            redis_dir = self.data_dir / "redis"
            redis_dir.mkdir(parents=True)
            (redis_dir / "port").write_text(str(free_port()))

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # A Redis server overwrites its environment with its title; its working directory is its data directory.
            marked = process.environ().get(MARK) == self._mark
            return marked or Path(process.cwd()).is_relative_to(self.data_dir)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextmanager
def running_farm(directory: Path, *options: str, **environment: str) -> Iterator[FarmProcess]:
    """Yield a farm that answers, and kill all its processes afterwards."""
    farm = FarmProcess(directory, *options, **environment)
    try:
        yield farm.wait_ready()
    finally:
        farm.destroy()
