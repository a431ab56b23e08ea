"""The engine process: its threads, its beginning and its end. Imports torch only after it has said that it is there."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from core.errors import FarmError
from worker.engine import spec
from worker.engine.io_queues import InputQueue, OutputQueue
from worker.engine.messages import Channel, Load, LoadFailed, Loading, Ready
from worker.engine.spec import EngineSpec
from worker.engine.watchdog import Deadline, Watchdog

if TYPE_CHECKING:
    from worker.engine.builder import EngineParts, OnProgress

    BuildEngine = Callable[[EngineSpec, OnProgress], EngineParts]
log = logging.getLogger(__name__)


def main(argv: list[str], build_with: BuildEngine | None = None) -> int:
    """`argv`: the number of the inherited socket. Returns the exit status."""
    # Ctrl-C reaches the whole terminal group: the worker decides when its engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=os.environ.get("IMAGEFARM_LOG_LEVEL", "INFO"), format="engine %(levelname)s %(message)s")
    os.environ["HF_HUB_OFFLINE"] = "1"  # Read when the hub's client is imported: loading never downloads.
    channel = Channel.over(socket.socket(fileno=int(argv[0])))
    first = channel.receive()
    if not isinstance(first, Load):
        raise TypeError(f"the first message must be Load, not {type(first).__name__}")
    return _serve(first.spec, channel, build_with)


def _serve(spec: EngineSpec, channel: Channel, build_with: BuildEngine | None) -> int:
    input_queue, output_queue = InputQueue(channel), OutputQueue(channel)
    output_queue.put(Loading("importing"))
    try:
        engine_parts = (build_with or _build)(spec, lambda stage, fraction: output_queue.put(Loading(stage, fraction)))
    except BaseException as error:  # noqa: BLE001 - the worker is told of anything at all
        output_queue.put(_load_failed(error))
        output_queue.close()
        return 1
    output_queue.put(Ready(engine_parts.info))
    _run(engine_parts, input_queue, output_queue, spec.step_timeout_seconds)
    output_queue.close()
    return 0


def _build(spec: EngineSpec, on_progress: OnProgress) -> EngineParts:
    from worker.engine.builder import build_engine

    return build_engine(spec, on_progress)


def _run(engine_parts: EngineParts, input_queue: InputQueue, output_queue: OutputQueue, timeout_seconds: float) -> None:
    from worker.engine.heartbeat import start_cpu_heartbeat
    from worker.engine.image_decoder import ImageDecoder
    from worker.engine.loop import EngineLoop
    from worker.engine.prompt_encoder import PromptEncoder
    from worker.engine.step_hooks import StepAborter, StepProgress
    from worker.engine.stepping import DevicePacer

    family, info, device = engine_parts.family, engine_parts.info, engine_parts.device
    if device.type == "cpu":
        start_cpu_heartbeat(output_queue, timeout_seconds)
    encoder = PromptEncoder(family, input_queue.put, _deadline(timeout_seconds)) if engine_parts.overlaps_encode else None
    decoder = ImageDecoder(
        family, info, output_queue, device, engine_parts.overlaps_decode, input_queue.put, _deadline(timeout_seconds)
    )
    aborter = StepAborter(engine_parts.blocks if engine_parts.aborts_steps else (), input_queue.all_canceled)
    step_progress, pacer = StepProgress(engine_parts.blocks, once_each=engine_parts.aborts_steps), DevicePacer(device)
    EngineLoop(
        family,
        info,
        engine_parts.admission,
        pacer,
        decoder,
        input_queue,
        output_queue,
        engine_parts.peaks,
        encoder,
        aborter,
        step_progress,
    ).run()
    decoder.close()


def _deadline(seconds: float) -> Deadline:
    """For one thread beside the loop: its worker hears from the engine while others step, and would wait for ever."""
    return partial(Watchdog(_exit_hung).within, seconds)


def _exit_hung(reason: str) -> None:
    log.critical("%s: ending, so that a new engine can take over", reason)
    os._exit(spec.EXIT_HUNG)


def _load_failed(error: BaseException) -> LoadFailed:
    if isinstance(error, FarmError):
        return LoadFailed(error.code, error.message)
    log.error("the model could not be loaded", exc_info=error)
    return LoadFailed("model_unavailable", f"The model could not be loaded: {type(error).__name__}: {error}")
