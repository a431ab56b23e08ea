"""Hold processes to a share of the processor, with a control group of Linux."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PERIOD_MICROSECONDS = 10_000
"""Who has used up their share waits for the next period: with the kernel's default of 100 ms, nearly that long."""
DISSOLVE_SECONDS = 10.0
_ROOT = Path("/sys/fs/cgroup")


class NoControlGroup(RuntimeError):
    """This machine does not let this user hold processes to a share of the processor."""


@contextmanager
def cpu_share(cores: float, process_ids: Iterable[int]) -> Iterator[None]:
    """Hold these processes and their present and future children together to `cores`; let go of them at the end.

    Raises:
        NoControlGroup: needs root, and the cpu controller of cgroup v1 or v2.
    """
    parent = _ROOT / "cpu" if (_ROOT / "cpu" / "cgroup.procs").exists() else _ROOT  # v1 has a folder for each controller
    group = parent / f"imagefarm-benchmark-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise NoControlGroup(f"cannot create a control group in {parent}: {error}; run as root") from error
    try:
        _limit(group, cores)
        for root in process_ids:
            for process in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
                _move(process.pid, group)
        yield
    finally:
        _dissolve(group, parent)


def _limit(group: Path, cores: float) -> None:
    quota = int(cores * PERIOD_MICROSECONDS)
    try:
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError as error:
        raise NoControlGroup(f"the cpu controller is not available in {group}: {error}") from error


def _move(process_id: int, group: Path) -> None:
    with suppress(ProcessLookupError, FileNotFoundError):
        (group / "cgroup.procs").write_text(str(process_id))


def _dissolve(group: Path, parent: Path) -> None:
    deadline = time.monotonic() + DISSOLVE_SECONDS
    while True:
        for each in (group / "cgroup.procs").read_text().split():
            _move(int(each), parent)
        try:
            group.rmdir()
            return
        except OSError:  # a process was forked or has just ended in it
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
