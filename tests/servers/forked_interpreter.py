"""Stands for an interpreter that is forked: `python tests/servers/forked_interpreter.py NAME -u -c CODE`.

The fork server that listens at the abstract address NAME forks a process, which runs CODE with the descriptors and the
environment of this one. This one waits for it, and imports nothing of the project: execnet starts it in any folder.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Have CODE run, and exit with its status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = {
        "module": "tests.servers.forked_interpreter",
        "arguments": sys.argv[-1:],
        "imports": [],
        "environment": dict(os.environ),
        "directory": str(os.getcwd()),  # noqa: PTH109 - pathlib takes longer to import than all else here
        "numbers": [0, 1, 2],
    }
    ours, theirs = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(f"\0{sys.argv[1]}")
        socket.send_fds(server, [json.dumps(request).encode()], [theirs, 0, 1, 2])
        os.close(theirs)
        with os.fdopen(ours, "rb") as status:
            status.readline()
            os.closerange(0, 2)  # else whoever reads the output does not see its end
            sys.exit(int(status.readline() or -signal.SIGKILL))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main()
    else:
        exec(sys.argv[1], {"__name__": "__main__"})  # noqa: S102 - as `python -c` does
