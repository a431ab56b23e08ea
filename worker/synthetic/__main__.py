"""Entry point of the synthetic engine's process: `python -m worker.synthetic FD`."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys

from core.settings import Settings
from worker.engine.messages import Channel
from worker.synthetic.engine import SyntheticEngine


def main() -> None:
    """Serve until the worker sends Stop or ends."""
    # Ctrl-C reaches the whole foreground group: the worker decides when its engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel.over(socket.socket(fileno=int(sys.argv[1])))
    settings = Settings()
    with contextlib.suppress(EOFError, OSError):
        SyntheticEngine(channel, settings.synthetic_step_seconds, settings.synthetic_load_seconds).serve()


main()
