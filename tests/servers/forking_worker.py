"""A worker whose engines are forked, not spawned: `python -m tests.servers.forking_worker FD WORDS...`.

FD is connected to a fork server with torch imported, which costs a spawned engine seven seconds of CPU time. Each engine is
a process of its own as on a farm, but not a child of the worker. WORDS are those of the command line.

With FD `-`, the worker forks its first engine, a synthetic one: a child as on a farm. It spawns later ones.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys

from tests.servers.forks import ENGINE_IMPORTS, ForkedProcess, ForkServer
from worker.engine import client, early_start

SYNTHETIC = "worker.synthetic"


def main() -> None:
    """Run the command with forked engines."""
    given = sys.argv.pop(1)
    if given == "-":
        if not fork_first_engine():
            runpy.run_module(SYNTHETIC, run_name="__main__", alter_sys=True)
            return
    else:
        fork_all_engines(ForkServer(socket.socket(fileno=int(given))))
    runpy.run_module("cli", run_name="__main__", alter_sys=True)


def fork_first_engine() -> bool:
    """Fork before the worker has threads; return False in the new process, whose argument is its socket's number."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        sys.argv = [SYNTHETIC, str(theirs.detach())]
        return False
    theirs.close()
    assert client.take_early is early_start.take_early  # type: ignore[attr-defined]
    waiting = [early_start.EarlyEngine(early_start.ForkedEngine(pid), ours)]
    client.take_early = lambda module: waiting.pop() if waiting and module == SYNTHETIC else None  # type: ignore[attr-defined]
    return True


def fork_all_engines(server: ForkServer) -> None:
    """Have this server fork the worker's engines."""

    def start(module: str, fd: int, environment: dict[str, str]) -> ForkedProcess:
        engine = server.start(module, str(fd), imports=ENGINE_IMPORTS, environment=environment, fds={fd: fd})
        sys.stderr.write(f"forked engine {engine.pid}\n")
        return engine

    assert client.EngineClient.__init__.__defaults__ == (client.spawn,)
    client.EngineClient.__init__.__defaults__ = (start,)
    early_start.start_early = lambda settings: None  # it would be spawned


if __name__ == "__main__":
    main()
