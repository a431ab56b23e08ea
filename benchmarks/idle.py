"""Measure a farm's second start, and the memory and processor time of its processes while it has nothing to do.

    python -m benchmarks.idle [--seconds 60] [--settle 20]

The farm is `imagefarm up` with its defaults and the model `demo`, on SQLite and its own Redis. Its first start, which builds
the model, is not measured. Memory is PSS: pages that processes share count once in all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_API_READY = re.compile(r"api is ready at (http://\S+)")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Memory of a process in MiB and its processor time in seconds."""

    name: str
    pss: float
    rss: float
    threads: int
    processor_seconds: float
    switches: int


@dataclass(frozen=True)
class Start:
    """Seconds from the command to the API's first response, and to the first finished picture."""

    api: float
    picture: float


class Farm:
    """A running `imagefarm up`."""

    def __init__(self, data_dir: Path) -> None:
        self._started = time.monotonic()
        command = [sys.executable, "-m", "cli", "up", "--port", "0", "--flower-port", "0", "--data-dir", str(data_dir)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "IMAGEFARM_MODEL": "demo"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.address, self.api_seconds = "", 0.0

    def wait_for_api(self) -> None:
        """Read the output until the supervisor sees that the API answers; read the rest on a thread."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := _API_READY.search(line):
                self.address, self.api_seconds = found[1], time.monotonic() - self._started
                threading.Thread(target=self._process.stdout.read, daemon=True).start()
                return
        raise SystemExit("The farm ended before its API answered.")

    def first_picture(self) -> float:
        """Submit a job, and return the seconds from the farm's start to its end."""
        body = {"prompt": "a cat", "width": 64, "height": 64, "num_inference_steps": 2, "seed": 1}
        headers = {"Content-Type": "application/json", "Prefer": "wait=120"}
        request = urllib.request.Request(f"{self.address}/v1/jobs", json.dumps(body).encode(), headers)  # noqa: S310 -- our own
        with urllib.request.urlopen(request) as answer:  # noqa: S310 -- our own
            assert json.load(answer)["status"] == "succeeded"
        return time.monotonic() - self._started

    def stop(self) -> None:
        """Stop the farm and wait for its end."""
        self._process.terminate()
        self._process.wait(timeout=120)

    def usages(self) -> dict[int, Usage]:
        """Return the present usage of every process of the farm, by its id."""
        found: dict[int, Usage] = {}
        for pid in _tree(self._process.pid):
            try:
                found[pid] = _usage_of(pid)
            except OSError:  # it has ended
                continue
        return found


def _tree(root: int) -> Iterator[int]:
    """Yield the process and its descendants."""
    yield root
    for task in Path(f"/proc/{root}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _tree(int(child))


def _usage_of(pid: int) -> Usage:
    process = Path(f"/proc/{pid}")
    fields = dict(line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    times = (process / "stat").read_text().rpartition(")")[2].split()
    switches = sum(
        int(line.split()[1])
        for each in (process / "task").iterdir()
        for line in (each / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )
    return Usage(
        name=_name_of((process / "cmdline").read_text().split("\0")),
        pss=int(fields["Pss"].split()[0]) / 1024,
        rss=int(fields["Rss"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        processor_seconds=(int(times[11]) + int(times[12])) / _TICKS,
        switches=switches,
    )


def _name_of(command: list[str]) -> str:
    words = [word for word in command if word]
    if words and words[0].startswith("imagefarm "):  # a part that the supervisor has forked
        return words[0].removeprefix("imagefarm ")
    for module in ("cli", "cli.part"):
        if module in words:
            return words[words.index(module) + 1]
    if any("spawn_main" in word or "engine" in word for word in words):
        return "engine"
    return Path(words[0]).name if words else "?"


@contextmanager
def running(data_dir: Path) -> Iterator[Farm]:
    """Yield a farm whose API answers."""
    farm = Farm(data_dir)
    try:
        farm.wait_for_api()
        yield farm
    finally:
        farm.stop()


def main() -> int:
    """Print the start and one line per process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="Time over which processor time is measured.")
    parser.add_argument("--settle", type=float, default=20.0, help="Time between the first picture and the measurement.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagefarm-idle-") as folder:
        with running(Path(folder)) as farm:
            farm.first_picture()
        with running(Path(folder)) as farm:
            start = Start(farm.api_seconds, farm.first_picture())
            time.sleep(given.settle)
            before = farm.usages()
            time.sleep(given.seconds)
            after = farm.usages()
    print(f"second start: API after {start.api:.1f} s, first picture after {start.picture:.1f} s\n")
    print("| process | PSS MiB | RSS MiB | threads | CPU % | wakes/s |\n|---|---|---|---|---|---|")
    total = [0.0, 0.0, 0.0]
    for pid, usage in after.items():
        earlier = before.get(pid, usage)
        percent = (usage.processor_seconds - earlier.processor_seconds) / given.seconds * 100
        wakes = (usage.switches - earlier.switches) / given.seconds
        print(f"| {usage.name} | {usage.pss:.0f} | {usage.rss:.0f} | {usage.threads} | {percent:.2f} | {wakes:.1f} |")
        for index, number in enumerate((usage.pss, usage.rss, percent)):
            total[index] += number
    print(f"| all | {total[0]:.0f} | {total[1]:.0f} | | {total[2]:.2f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
