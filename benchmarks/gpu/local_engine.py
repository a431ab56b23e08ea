"""Run the farm's engine on a thread of this process, so that its device memory can be read."""

from __future__ import annotations

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
    """Admits every request: the benchmark itself limits how many are in flight."""

    def admits(self, request: RenderRequest, active: object) -> bool:
        return True


class LocalEngine:
    """The engine's own loop; messages pass through a socket pair as in the farm.

    It is opened on the thread that steps, as in the farm: CUDA graphs belong to a thread. `opened`: the engine's parts.
    """

    _kept_open: ClassVar[list[Channel]] = []
    """Channels that stay open after their engine has stopped: an input queue whose channel closes ends the process."""

    def __init__(self, open_engine: Callable[[], EngineParts]) -> None:
        """Start the engine and wait until it is ready; raises what `open_engine` raises."""
        ours, theirs = socket.socketpair()
        self._channel, self._engine_side = Channel.over(ours), Channel.over(theirs)
        self._kept_open.append(self._channel)
        ready: Future[EngineParts] = Future()
        self._thread = threading.Thread(target=self._run, args=(open_engine, ready), daemon=True)
        self._thread.start()
        self.opened = ready.result()

    def _run(self, open_engine: Callable[[], EngineParts], ready: Future[EngineParts]) -> None:
        try:
            opened = open_engine()
        except BaseException as error:  # noqa: BLE001 - raised by the constructor
            ready.set_exception(error)
            return
        queues, parts = EngineQueues.over(self._engine_side), replace(opened, admission=AdmitAll(), peaks=None, blocks=[])
        decoder = ImageDecoder(parts, queues)
        encoder = PromptEncoder(parts.family, queues.input.put, nullcontext) if parts.overlaps_encode else None
        ready.set_result(opened)
        EngineLoop(parts, queues, decoder, encoder).run()
        decoder.close()
        queues.output.close()

    def render(self, requests: list[RenderRequest], in_flight: int) -> list[float]:
        """Return seconds until each image was rendered, with at most `in_flight` submitted and not rendered.

        Raise RuntimeError for a failed request.
        """
        started, waiting, running = time.perf_counter(), list(requests), 0
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
                done.append(time.perf_counter() - started)
        return done

    def stop(self) -> None:
        """Stop the engine and wait for its threads to end."""
        self._channel.send(Stop())
        self._thread.join()
        torch.compiler.reset()  # Its graphs would count against the limit of the next engine in this process.
