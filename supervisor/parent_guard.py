"""Run a command that the kernel kills when its parent dies; standard library only, run by path."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """`parent_guard.py PARENT_PID COMMAND...`; on systems other than Linux it only becomes the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # the parent died before the kernel could be asked
    os.execvp(command[0], command)  # noqa: S606 -- no shell wanted


if __name__ == "__main__":
    main()
