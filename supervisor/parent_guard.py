"""Run a command that the kernel kills when its parent dies. Uses only the standard library: it is run by its path."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process with the command of `parent_guard.py PARENT_PID COMMAND...`; the guard works only on Linux."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # the parent died before prctl took effect
    os.execvp(command[0], command)  # noqa: S606 -- no shell wanted


if __name__ == "__main__":
    main()
