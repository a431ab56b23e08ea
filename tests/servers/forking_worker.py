"""A worker whose engines are forked, not spawned: `python -m tests.servers.forking_worker FD WORDS...`.

FD is connected to a fork server with torch imported, which costs a spawned engine seven seconds of CPU time. Each engine is
a process of its own as on a farm, but not a child of the worker. WORDS are those of the command line.
"""

from __future__ import annotations

import runpy
import socket
import sys

from tests.servers.forks import ENGINE_IMPORTS, ForkedProcess, ForkServer
from worker.engine import client, early_start


def main() -> None:
    """Run the command with engines of the fork server."""
    server = ForkServer(socket.socket(fileno=int(sys.argv.pop(1))))

    def start(module: str, fd: int, environment: dict[str, str]) -> ForkedProcess:
        engine = server.start(module, str(fd), imports=ENGINE_IMPORTS, environment=environment, fds={fd: fd})
        sys.stderr.write(f"forked engine {engine.pid}\n")
        return engine

    assert client.EngineClient.__init__.__defaults__ == (client.spawn,)
    client.EngineClient.__init__.__defaults__ = (start,)
    early_start.start_early = lambda settings: None  # it would be spawned
    runpy.run_module("cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
