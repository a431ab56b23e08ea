"""From a sample whose steps are done to its picture: at once, or beside the steps of others."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from core.render import RenderRecord, RenderRequest, RenderTimings
from worker.engine import exits
from worker.engine.active import Active, Decoded
from worker.engine.events import EngineInfo, RequestFailed
from worker.engine.faults import BrokenDevice, code_and_message, is_broken_device, is_out_of_memory
from worker.engine.outbox import Outbox
from worker.engine.pictures import rendered_message
from worker.engine.stepping import free_cached_memory
from worker.engine.watchdog import Deadline
from worker.pipelines.family import AnyFamily
from worker.pipelines.stance import runs_uncompiled
from worker.pipelines.tuning.kernels import NATIVE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A sample that has left the batch; `reached` marks the end of its last step on the device's queue."""

    request: RenderRequest
    sample: Any
    record: RenderRecord
    timings: RenderTimings
    reached: Any


class Finisher:
    """`overlapped`: decode on a thread, and on a CUDA stream, of its own. Every `finish` is answered by one event.

    Overlapped, `tell` hears of the end of each decode, and `deadline` (given what is done) bounds it.
    """

    def __init__(
        self,
        family: AnyFamily,
        info: EngineInfo,
        outbox: Outbox,
        device: torch.device,
        overlapped: bool,
        tell: Callable[[Decoded], None] = lambda decoded: None,
        deadline: Deadline = nullcontext,
    ) -> None:
        self._family = family
        self._info = info
        self._outbox = outbox
        self._tell = tell
        self._deadline = deadline
        self._device = device
        self._stream: Any = None
        self._queue: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()
        self._decoding: list[RenderRequest] = []
        self._thread = threading.Thread(target=self._run, name="finisher", daemon=True) if overlapped else None
        if self._thread is not None:
            self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
            self._thread.start()

    def finish(self, each: Active) -> None:
        """Takes the sample over; raises BrokenDevice at most."""
        finished = Finished(each.request, each.sample, record_of(self._info, each), each.timings, self._mark())
        each.sample = None
        if self._thread is None:
            self._decode_and_send(finished)
        else:
            self._decoding.append(each.request)
            self._queue.put(finished)

    def decoding(self) -> Sequence[RenderRequest]:
        """What was taken over and still needs memory beside the steps; nothing unless overlapped."""
        return tuple(self._decoding)

    def close(self) -> None:
        """Returns when all that was taken over has been answered."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _mark(self) -> Any:  # noqa: ANN401 - a CUDA event or None
        if self._stream is None:
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _run(self) -> None:
        while (finished := self._queue.get()) is not None:
            try:
                with self._deadline(f"decoding the picture of {finished.request.id}"):
                    self._decode_on_stream(finished)
            except BaseException:
                # Of a decode itself only BrokenDevice is left; the stream and its events raise when the device is gone.
                log.exception("the device is beyond repair: ending, so that a new engine can take over")
                os._exit(exits.BROKEN_DEVICE)
            self._decoding.remove(finished.request)
            self._tell(Decoded())

    def _decode_on_stream(self, finished: Finished) -> None:
        if self._stream is None:
            self._decode_and_send(finished)
            return
        with torch.cuda.stream(self._stream):
            finished.reached.wait(self._stream)
            self._decode_and_send(finished)
            self._stream.synchronize()

    def _decode_and_send(self, finished: Finished) -> None:
        started = time.monotonic()
        failed = partial(RequestFailed, finished.request.id)
        try:
            pixels = self._decode(finished.sample)
        except BaseException as error:
            if is_broken_device(error):
                raise BrokenDevice(str(error)) from error
            code, message = code_and_message(error)
            if code == "render_failed":
                log.exception("request %s failed while it was decoded", finished.request.id)
            self._outbox.put(failed(code, message))
            return
        finally:
            self._family.close(finished.sample)
        timings = finished.timings.model_copy(update={"decode_seconds": time.monotonic() - started})
        make = partial(rendered_message, finished.request.id, pixels, finished.record, timings)
        self._outbox.put_made(make, failed)

    def _decode(self, sample: Any) -> torch.Tensor:  # noqa: ANN401 - the family's
        try:
            return self._on_host(sample)
        except BaseException as error:
            if not is_out_of_memory(error):
                raise
        free_cached_memory()
        return self._on_host(sample)

    def _on_host(self, sample: Any) -> torch.Tensor:  # noqa: ANN401 - the family's
        """On its own stream the copy to the host is made here: nobody else may wait for that stream."""
        pixels: torch.Tensor = self._family.decode(sample)
        return pixels if self._stream is None else pixels.cpu()


def record_of(info: EngineInfo, each: Active) -> RenderRecord:
    """How the image came about."""
    return RenderRecord(
        family=info.family,
        device=info.device_name,
        dtype=info.dtype,
        memory_policy=info.memory_policy,
        attention_backend=NATIVE if each.request.strict else info.attention_backend,
        versions=_versions(info, each.request) | each.sample.notes,
        batch_sizes=each.batch_sizes,
        batches=each.batches,
        pipeline_guidance_scale=each.sample.pipeline_guidance_scale,
        sigmas_or_timesteps=each.sample.schedule,
    )


def _versions(info: EngineInfo, request: RenderRequest) -> dict[str, str]:
    """What is true of the engine need not be of each request."""
    if not runs_uncompiled(request) or info.versions.get("compiled_blocks") != "true":
        return info.versions
    return {name: value for name, value in info.versions.items() if name != "compile_mode"} | {"compiled_blocks": "false"}
