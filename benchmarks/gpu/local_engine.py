"""The engine as the farm opens it, on a thread of this process, so that its device memory can be read."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar

import torch

from core.render import RenderRequest
from worker.engine.image_decoder import ImageDecoder
from worker.engine.io_queues import EngineQueues
from worker.engine.loop import EngineLoop
from worker.engine.messages import Channel, Rendered, RequestFailed, Stop, Submit
from worker.engine.parts import EngineParts
from worker.engine.prompt_encoder import PromptEncoder


class AdmitAll:
    """The benchmark decides itself how much is in flight."""

    def admits(self, request: RenderRequest, active: object) -> bool:
        return True


class LocalEngine:
    """The engine's own loop; messages cross a socket pair as they always do.

    It is opened on the thread that steps, as the farm's is: CUDA graphs are a thread's own. `opened`: what came of it.
    """

    _open: ClassVar[list[Channel]] = []
    """Ends that stay open when their engine has stopped: an inbox that finds its channel closed ends the process."""

    def __init__(self, open_engine: Callable[[], EngineParts]) -> None:
        """Returns when the engine is ready; raises what `open_engine` raises."""
        ours, theirs = socket.socketpair()
        self._channel, self._engine_side = Channel.over(ours), Channel.over(theirs)
        self._open.append(self._channel)
        coming: Future[EngineParts] = Future()
        self._thread = threading.Thread(target=self._run, args=(open_engine, coming), daemon=True)
        self._thread.start()
        self.opened = coming.result()

    def _run(self, open_engine: Callable[[], EngineParts], coming: Future[EngineParts]) -> None:
        try:
            opened = open_engine()
        except BaseException as error:  # noqa: BLE001 - raised by the constructor
            coming.set_exception(error)
            return
        queues, parts = EngineQueues.over(self._engine_side), replace(opened, admission=AdmitAll(), peaks=None, blocks=[])
        decoder = ImageDecoder(parts, queues)
        encoder = PromptEncoder(parts.family, queues.input.put, nullcontext) if parts.overlaps_encode else None
        coming.set_result(opened)
        EngineLoop(parts, queues, decoder, encoder).run()
        decoder.close()
        queues.output.close()

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
        torch.compiler.reset()  # Its graphs would count among those that the next engine in this process may have.


def free_device() -> None:
    """Give back what no object holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
