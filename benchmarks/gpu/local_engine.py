"""The engine as the farm opens it, on a thread of this process, so that its device memory can be read."""

from __future__ import annotations

import gc
import socket
import threading
import time
from typing import ClassVar

import torch

from core.render import RenderRequest
from worker.engine.events import Rendered, RequestFailed
from worker.engine.finishing import Finisher
from worker.engine.inbox import Inbox
from worker.engine.loop import Loop
from worker.engine.messages import Channel, Stop, Submit
from worker.engine.opening import Opened
from worker.engine.outbox import Outbox
from worker.engine.pacing import Pacer


class AdmitAll:
    """The benchmark decides itself how much is in flight."""

    def admits(self, request: RenderRequest, active: object) -> bool:
        return True


class LocalEngine:
    """The engine's own loop; messages cross a socket pair as they always do."""

    _open: ClassVar[list[Channel]] = []
    """Ends that stay open when their engine has stopped: an inbox that finds its channel closed ends the process."""

    def __init__(self, opened: Opened) -> None:
        ours, theirs = socket.socketpair()
        self._channel, engine_side = Channel.over(ours), Channel.over(theirs)
        self._open.append(self._channel)
        self._outbox = Outbox(engine_side)
        self._finisher = Finisher(opened.family, opened.info, self._outbox, opened.device, opened.overlaps_decode)
        inbox = Inbox(engine_side)
        loop = Loop(opened.family, opened.info, AdmitAll(), Pacer(opened.device), self._finisher, inbox, self._outbox)
        self._thread = threading.Thread(target=loop.run, daemon=True)
        self._thread.start()

    def render(self, requests: list[RenderRequest], in_flight: int) -> list[float]:
        """Seconds until each picture was there, with at most `in_flight` submitted and not rendered.

        RuntimeError for one that failed.
        """
        began, waiting, running = time.perf_counter(), list(requests), 0
        done: list[float] = []
        while waiting or running:
            while waiting and running < in_flight:
                self._channel.send(Submit(waiting.pop(0)))
                running += 1
            event = self._channel.receive()
            if isinstance(event, RequestFailed):
                raise RuntimeError(f"{event.code}: {event.message}")
            if isinstance(event, Rendered):
                running -= 1
                done.append(time.perf_counter() - began)
        return done

    def stop(self) -> None:
        """Returns when its threads have ended."""
        self._channel.send(Stop())
        self._thread.join()
        self._finisher.close()
        self._outbox.close()
        torch.compiler.reset()  # Its graphs would count among those that the next engine in this process may have.


def free_device() -> None:
    """Give back what no object holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
