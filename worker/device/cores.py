"""Count the processor cores that this process may compute on."""

from __future__ import annotations

import math
import os
from pathlib import Path

SYSFS = Path("/sys/devices/system")
CGROUP = Path("/sys/fs/cgroup")


def usable_cores(sysfs: Path = SYSFS, cgroup: Path = CGROUP, allowed: set[int] | None = None) -> int:
    """Return the physical cores among the processors that this process may run on, or the container's share if less.

    Two threads on one core share its units for matrix products and are slower than one. `allowed`: numbers of processors.
    """
    numbers = _allowed() if allowed is None else allowed
    cores = {_siblings(sysfs / "cpu" / f"cpu{number}", number) for number in numbers}
    quota = _quota(cgroup)
    return max(min(len(cores), math.ceil(quota)) if quota else len(cores), 1)


def numa_nodes(sysfs: Path = SYSFS) -> int:
    """Return how many NUMA nodes with memory of their own the machine has; 1 where it does not say."""
    return max(len(list((sysfs / "node").glob("node[0-9]*"))), 1)


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _siblings(folder: Path, number: int) -> str:
    """Return the processors that share this one's core, as the kernel writes them; its own number where that is unknown."""
    return _read(folder / "topology" / "thread_siblings_list") or str(number)


def _quota(cgroup: Path) -> float | None:
    """Return the processors' worth of time that the container may use; None without a limit."""
    fields = _read(cgroup / "cpu.max").split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return int(fields[0]) / int(fields[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
