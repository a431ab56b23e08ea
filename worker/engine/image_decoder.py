"""Decode finished samples into images, between the steps of other requests or overlapped with them."""

from __future__ import annotations

import io
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image

from core.render import RenderRecord, RenderRequest, RenderTimings
from worker.device.faults import BrokenDevice, code_and_message, is_broken_device, is_out_of_memory
from worker.device.torch_device import free_cached_memory, peak_memory
from worker.engine import spec
from worker.engine.active_request import ActiveRequest, Decoded
from worker.engine.io_queues import EngineQueues
from worker.engine.messages import EngineInfo, Preview, Rendered, RequestFailed
from worker.engine.parts import EngineParts
from worker.engine.watchdog import Deadline
from worker.pipelines.decoding import to_bytes
from worker.pipelines.execution_mode import runs_uncompiled
from worker.pipelines.tuning.attention import NATIVE

log = logging.getLogger(__name__)
PREVIEW_SIDE = 256
"""Longest side of a preview, in pixels."""
JPEG_QUALITY = 80


def preview_message(request_id: str, step: int, pixels: torch.Tensor) -> Preview:
    """Return a JPEG of `pixels` (uint8, height x width x 3, one per latent), enlarged to PREVIEW_SIDE."""
    image = Image.fromarray(pixels.cpu().numpy())
    scale = PREVIEW_SIDE / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Preview(request_id, step, buffer.getvalue(), image.width, image.height)


def rendered_message(request_id: str, pixels: torch.Tensor, record: RenderRecord, timings: RenderTimings) -> Rendered:
    """Build the message of a finished image; `pixels`: uint8, height x width x 3."""
    height, width = pixels.shape[:2]
    return Rendered(request_id, width, height, to_bytes(pixels), record, timings)


@dataclass(frozen=True)
class FinishedSample:
    """A sample that has left the batch; `steps_done`: CUDA event after its last step, or None."""

    request: RenderRequest
    sample: Any
    record: RenderRecord
    timings: RenderTimings
    steps_done: Any


class ImageDecoder:
    """Decode on the loop's thread, or with `parts.overlaps_decode` on a thread and a CUDA stream of its own.

    Each `finish` leads to one Rendered or RequestFailed. On its own thread, the end of a decode also wakes the loop, and
    `deadline` bounds each decode.
    """

    def __init__(self, parts: EngineParts, queues: EngineQueues, deadline: Deadline = nullcontext) -> None:
        self._family = parts.family
        self._info = parts.info
        self._around_decode = parts.around_decode
        self._warnings_of = parts.warnings_of
        self._lora_hashes_of = parts.lora_hashes_of
        self._input, self._output = queues.input, queues.output
        self._deadline = deadline
        self._device = device = parts.device
        self._stream: Any = None
        self._queue: queue.SimpleQueue[FinishedSample | None] = queue.SimpleQueue()
        self._decoding: list[RenderRequest] = []
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True) if parts.overlaps_decode else None
        if self._thread is not None:
            self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
            self._thread.start()

    def finish(self, active: ActiveRequest) -> None:
        """Take ownership of the sample and decode it. Raises BrokenDevice and no other error."""
        request = active.request
        warnings, hashes = (self._warnings_of(request), self._lora_hashes_of(request)) if request.loras else ((), {})
        record = render_record(self._info, active, warnings, hashes)
        steps_done = self._record_event()
        finished = FinishedSample(active.request, active.sample, record, active.timings, steps_done)
        active.sample = None
        if self._thread is None:
            self._decode_and_send(finished)
        else:
            self._decoding.append(active.request)
            self._queue.put(finished)

    def decoding(self) -> Sequence[RenderRequest]:
        """Return the requests that are being decoded on the decoder's own thread, which takes memory next to the steps."""
        return tuple(self._decoding)

    def close(self) -> None:
        """Block until every finished sample has been answered."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _record_event(self) -> Any:  # noqa: ANN401 - a CUDA event or None
        if self._stream is None:
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _run(self) -> None:
        while (finished := self._queue.get()) is not None:
            try:
                with self._deadline(f"decoding the image of {finished.request.id}"):
                    self._decode_on_stream(finished)
            except BaseException:
                # Decoding itself raises only BrokenDevice; the stream and its events raise when the device is broken.
                log.exception("the device is broken: ending this process, so that a new engine can replace it")
                os._exit(spec.EXIT_BROKEN_DEVICE)
            self._decoding.remove(finished.request)
            self._input.put(Decoded())

    def _decode_on_stream(self, finished: FinishedSample) -> None:
        if self._stream is None:
            self._decode_and_send(finished)
            return
        with torch.cuda.stream(self._stream):
            finished.steps_done.wait(self._stream)
            self._decode_and_send(finished)
            self._stream.synchronize()

    def _decode_and_send(self, finished: FinishedSample) -> None:
        started = time.monotonic()
        failed = partial(RequestFailed, finished.request.id)
        try:
            pixels = self._decode(finished.sample)
        except BaseException as error:
            if is_broken_device(error):
                raise BrokenDevice(str(error)) from error
            code, message = code_and_message(error)
            if code == "render_failed":
                log.exception(
                    "request %s failed during decoding",
                    finished.request.id,
                    extra={"job_id": finished.request.id.partition("/")[0]},
                )
            self._output.put(failed(code, message))
            return
        finally:
            self._family.close(finished.sample)
        timings = finished.timings.model_copy(update={"decode_seconds": time.monotonic() - started})
        record = finished.record.model_copy(update={"peak_memory": peak_memory(self._device)})
        make = partial(rendered_message, finished.request.id, pixels, record, timings)
        self._output.put_lazy(make, failed)

    def _decode(self, sample: Any) -> torch.Tensor:  # noqa: ANN401 - the family's
        try:
            return self._decode_to_host(sample)
        except BaseException as error:
            if not is_out_of_memory(error):
                raise
        free_cached_memory()
        return self._decode_to_host(sample)

    def _decode_to_host(self, sample: Any) -> torch.Tensor:  # noqa: ANN401 - the family's
        """Decode; on the decoder's own stream also copy to the host, since other threads do not wait for that stream."""
        with self._around_decode():
            pixels: torch.Tensor = self._family.decode(sample)
        return pixels if self._stream is None else pixels.cpu()


def render_record(
    info: EngineInfo,
    active: ActiveRequest,
    warnings: Sequence[str] = (),
    lora_hashes: Mapping[str, str] = MappingProxyType({}),
) -> RenderRecord:
    """Return the record of how the image was made, as stored with it."""
    return RenderRecord(
        family=info.family,
        device=active.sample.device_name or info.device_name,
        dtype=active.sample.dtype or info.dtype,
        memory_policy=info.memory_policy,
        attention_backend=NATIVE if active.request.strict else info.attention_backend,
        versions=_versions(info, active.request) | active.sample.notes,
        batch_sizes=active.batch_sizes,
        batches=active.batches,
        pipeline_guidance_scale=active.sample.pipeline_guidance_scale,
        sigmas_or_timesteps=active.sample.schedule,
        warnings=list(warnings),
        lora_hashes=dict(lora_hashes),
    )


def _versions(info: EngineInfo, request: RenderRequest) -> dict[str, str]:
    """Return the engine's versions, corrected for a request that runs uncompiled and with separate projections."""
    if not runs_uncompiled(request):
        return info.versions
    kept = {name: value for name, value in info.versions.items() if name != "projections"}
    if info.versions.get("compiled_blocks") != "true":
        return kept
    return {name: value for name, value in kept.items() if name != "compile_mode"} | {"compiled_blocks": "false"}
