"""Run `imagefarm` in a host from a forked process: `python -m tests.servers.network.entering PID DIRECTORY WORDS...`.

PID is the host's first process. What `nsenter` does for a new interpreter, and what `Program` expects of it: the program is
the only child of a process outside, which ends with its status.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import sys

NAMESPACES = ("uts", "net", "pid", "mnt")


def main() -> None:
    """Enter the host, and run the command in a child: a process keeps its own number space of processes."""
    first, directory = sys.argv.pop(1), sys.argv.pop(1)
    library = ctypes.CDLL(None, use_errno=True)
    spaces = [os.open(f"/proc/{first}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in NAMESPACES]
    for space in spaces:
        if library.setns(space, 0) != 0:
            raise OSError(ctypes.get_errno(), "the host cannot be entered")
        os.close(space)
    os.chdir(directory)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    runpy.run_module("cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
