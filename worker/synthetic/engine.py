"""Step all requests together, as the real engine does, but compute nothing."""

from __future__ import annotations

import os
import queue
import threading
import time
from dataclasses import dataclass, replace

from core.render import RenderRecord, RenderRequest, RenderTimings
from worker.engine.messages import (
    Cancel,
    Canceled,
    Channel,
    Command,
    EngineInfo,
    Load,
    Loading,
    Ready,
    Release,
    Rendered,
    RequestFailed,
    Started,
    Step,
    Stop,
    Submit,
)
from worker.engine.spec import EngineSpec

CAPACITY = 4
CRASH, HANG, OUT_OF_MEMORY, NOT_FINITE = "synthetic:crash", "synthetic:hang", "synthetic:oom", "synthetic:nan"
"""A prompt that starts with one of these causes that fault at its first step."""
BLACK = "synthetic:black"
"""A prompt that starts with this renders a black image."""
_BRIGHTNESS = 0x60
"""Of the red channel of small seeds, whose images would be black otherwise."""
_FAILURES = {OUT_OF_MEMORY: "out_of_memory", NOT_FINITE: "non_finite_latents"}


@dataclass
class _Request:
    request: RenderRequest
    started_at: float
    step: int = 0
    canceled: bool = False


class SyntheticEngine:
    """Speak the engine's protocol over `channel`; a step takes `step_seconds` for any number of requests.

    Loading a model takes `load_seconds`.
    """

    def __init__(self, channel: Channel, step_seconds: float, load_seconds: float = 0.0) -> None:
        self._channel = channel
        self._step_seconds = step_seconds
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._running: dict[str, _Request] = {}
        self._stopping = False
        self._load_seconds = load_seconds
        self._kept: list[str] = []

    def serve(self) -> None:
        """Serve until Stop. Raises EOFError or OSError when the worker has ended."""
        load = self._channel.receive()
        assert isinstance(load, Load)  # noqa: S101 -- the protocol's first frame
        threading.Thread(target=self._listen, daemon=True).start()
        self._load(load.spec)
        while not (self._stopping and not self._running):
            self._handle_commands()
            self._step_all()

    def _load(self, spec: EngineSpec) -> None:
        """Take the time of a load; the models before count as kept in host memory."""
        self._channel.send(Loading("nothing to load", 0.5))
        time.sleep(self._load_seconds)
        self._kept = [*(model for model in self._kept if model != spec.model), spec.model]
        self._channel.send(Ready(replace(_info(spec), load_seconds=self._load_seconds, in_host_memory=self._kept[:-1])))

    def _listen(self) -> None:
        try:
            while True:
                self._commands.put(self._channel.receive())  # type: ignore[arg-type]
        except (EOFError, OSError):
            os._exit(0)

    def _handle_commands(self) -> None:
        """Handle the commands that have arrived; block only when there is nothing to step."""
        block = not self._running
        while True:
            try:
                command = self._commands.get(block=block)
            except queue.Empty:
                return
            block = False
            match command:
                case Submit(request):
                    self._running[request.id] = _Request(request, time.monotonic())
                    self._channel.send(Started(request.id))
                case Cancel(request_id) if request_id in self._running:
                    self._running[request_id].canceled = True
                case Load(spec):
                    self._load(spec)
                case Release(model) if model in self._kept[:-1]:
                    self._kept.remove(model)
                case Stop():
                    self._stopping = True
                    return
                case _:
                    pass

    def _step_all(self) -> None:
        if self._running and self._step_seconds:
            time.sleep(self._step_seconds)
        for running in list(self._running.values()):
            self._step(running)

    def _step(self, running: _Request) -> None:
        request = running.request
        if running.canceled:
            del self._running[request.id]
            self._channel.send(Canceled(request.id))
            return
        if self._inject_fault(request):
            return
        running.step += 1
        each = (time.monotonic() - running.started_at) / running.step
        left = request.num_inference_steps - running.step
        self._channel.send(Step(request.id, running.step, request.num_inference_steps, each, each * left))
        if not left:
            del self._running[request.id]
            self._channel.send(_solid_color(request, time.monotonic() - running.started_at, len(self._running) + 1))

    def _inject_fault(self, request: RenderRequest) -> bool:
        if request.prompt.startswith(CRASH):
            os._exit(1)
        if request.prompt.startswith(HANG):
            threading.Event().wait()
        for prompt, code in _FAILURES.items():
            if request.prompt.startswith(prompt):
                del self._running[request.id]
                self._channel.send(RequestFailed(request.id, code, f"The prompt '{prompt}' asks for this fault."))
                return True
        return False


def _info(spec: EngineSpec) -> EngineInfo:
    return EngineInfo(
        model=spec.model,
        family="synthetic",
        device="cpu",
        device_name="none: plain colours",
        dtype="uint8",
        memory_policy="none",
        capacity=spec.capacity or CAPACITY,
        token_budget=0,
        attention_backend="none",
        load_seconds=0.0,
        process_id=os.getpid(),
    )


def _solid_color(request: RenderRequest, seconds: float, batch: int) -> Rendered:
    red, green, blue = request.seed.to_bytes(8, "big")[-3:]
    color = bytes(3) if request.prompt.startswith(BLACK) else bytes((red ^ _BRIGHTNESS, green, blue))
    record = RenderRecord(
        family="synthetic",
        device="cpu",
        dtype="uint8",
        memory_policy="none",
        attention_backend="none",
        versions={},
        batch_sizes=[batch] * request.num_inference_steps,
        pipeline_guidance_scale=0.0,
    )
    pixels = color * (request.width * request.height)
    return Rendered(request.id, request.width, request.height, pixels, record, RenderTimings(steps_seconds=seconds))
