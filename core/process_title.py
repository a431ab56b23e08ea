"""What `ps` shows of a process that was forked, in place of the command line of the process that it was forked from."""

from __future__ import annotations

import ctypes
from pathlib import Path

_ARGUMENTS = slice(45, 47)
"""arg_start and arg_end among the fields of /proc/PID/stat that follow the command's name; see proc(5)."""


def show_as(title: str) -> None:
    """Show the title of this process, which must run on Linux, as far as its former command line is long enough."""
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    start, end = map(int, stat.rpartition(")")[2].split()[_ARGUMENTS])
    if end > start:  # some kernels do not say where the arguments are
        shown = title.encode()[: end - start - 1]
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, shown, len(shown))
