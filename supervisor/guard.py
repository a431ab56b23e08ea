"""Runs a command that must not outlive its parent: asks the kernel to kill it then, and becomes the command.

Run by path with the parent's process id and the command, on the standard library alone: it starts before each child,
and the children are other people's programs (a Redis server) as well as ours.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """`guard.py PARENT_PID COMMAND...`; on systems other than Linux it only becomes the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # the parent died before the kernel could be asked
    os.execvp(command[0], command)  # noqa: S606 -- no shell wanted


if __name__ == "__main__":
    main()
