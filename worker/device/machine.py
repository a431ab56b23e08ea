"""Measure how much host memory a new process may still take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GIGABYTE = 10**9
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Free memory in bytes. `free_bytes`: on the device (for a CPU: host memory). `host_bytes`: available host memory.

    `capability`: a GPU's CUDA compute capability.
    """

    device: str
    free_bytes: int
    host_bytes: int
    capability: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class TextDevice:
    """A device that text encoders are set to, other than the model's own, and the bytes that are free there."""

    name: str
    free_bytes: int


def available_bytes() -> int:
    """Return the kernel's estimate of available host memory in bytes, or what the container's limit leaves if less."""
    free = _kernel_available()
    limit = _cgroup_left()
    return free if limit is None else min(free, limit)


def _kernel_available() -> int:
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    values = dict(line.split(":", 1) for line in lines)
    return int(values["MemAvailable"].split()[0]) * 1024


def _cgroup_left() -> int | None:
    try:
        limit = (CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)
