"""Let the kernel kill a process when its parent dies. Uses only the standard library: it is also run by its path."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Guard this process, a child of `parent`, or end it when that has died; the kernel's guard works only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # the parent died before prctl took effect


def main() -> None:
    """Replace this process with the command of `parent_guard.py PARENT_PID COMMAND...`."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    end_with_parent(parent)
    os.execvp(command[0], command)  # noqa: S606 -- no shell wanted


if __name__ == "__main__":
    main()
