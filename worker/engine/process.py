"""Run the engine process: start its threads, load, step until stopped. Imports torch only after its first message."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from core.errors import FarmError
from core.queue import UPSCALE
from worker.engine import spec
from worker.engine.io_queues import EngineQueues
from worker.engine.messages import Channel, Load, LoadFailed, Loading, Ready, Stop
from worker.engine.spec import EngineSpec
from worker.engine.watchdog import Deadline, Watchdog

if TYPE_CHECKING:
    from worker.engine.builder import OnProgress
    from worker.engine.parts import EngineParts

    BuildEngine = Callable[[EngineSpec, OnProgress], EngineParts]
log = logging.getLogger(__name__)


def main(argv: list[str], build_with: BuildEngine | None = None) -> int:
    """Serve over the inherited socket whose number is `argv[0]`; return the exit status."""
    # Ctrl-C reaches the whole foreground group: the worker decides when its engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=os.environ.get("IMAGEFARM_LOG_LEVEL", "INFO"), format="engine %(levelname)s %(message)s")
    os.environ["HF_HUB_OFFLINE"] = "1"  # Read when the hub's client is imported: loading never downloads.
    channel = Channel.over(socket.socket(fileno=int(argv[0])))
    first = channel.receive()
    if not isinstance(first, Load):
        raise TypeError(f"the first message must be Load, not {type(first).__name__}")
    return _serve(first.spec, channel, build_with)


def _serve(spec: EngineSpec, channel: Channel, build_with: BuildEngine | None) -> int:
    queues = EngineQueues.over(channel)
    if spec.model == UPSCALE:
        return _serve_upscales(spec, queues)
    queues.output.put(Loading("importing"))
    try:
        parts = (build_with or _build)(spec, lambda stage, fraction: queues.output.put(Loading(stage, fraction)))
    except BaseException as error:  # noqa: BLE001 - every failure is reported to the worker
        queues.output.put(_load_failed(error))
        queues.output.close()
        return 1
    queues.output.put(Ready(parts.info))
    _run(parts, queues, spec.step_timeout_seconds)
    queues.output.close()
    return 0


def _serve_upscales(spec: EngineSpec, queues: EngineQueues) -> int:
    """Be ready before torch is imported, which an upscaling worker without jobs never needs."""
    from worker.engine.upscaling import build_upscaling, upscaling_info

    info = upscaling_info(spec)
    queues.output.put(Ready(info))
    if not isinstance(queues.input.peek(), Stop):
        _run(build_upscaling(spec, info), queues, spec.step_timeout_seconds)
    queues.output.close()
    return 0


def _build(spec: EngineSpec, on_progress: OnProgress) -> EngineParts:
    from worker.engine.builder import build_engine

    return build_engine(spec, on_progress)


def _run(parts: EngineParts, queues: EngineQueues, timeout_seconds: float) -> None:
    from worker.engine.heartbeat import start_cpu_heartbeat
    from worker.engine.image_decoder import ImageDecoder
    from worker.engine.loop import EngineLoop
    from worker.engine.prompt_encoder import PromptEncoder

    if parts.device.type == "cpu":
        start_cpu_heartbeat(queues.output, timeout_seconds)
    encoder = PromptEncoder(parts.family, queues.input.put, _deadline(timeout_seconds)) if parts.overlaps_encode else None
    decoder = ImageDecoder(parts, queues, _deadline(timeout_seconds))
    EngineLoop(parts, queues, decoder, encoder).run()
    decoder.close()


def _deadline(seconds: float) -> Deadline:
    """Return a deadline for one thread that runs next to the loop.

    The worker's watchdog cannot notice when such a thread hangs: it receives messages as long as other requests step.
    """
    return partial(Watchdog(_exit_hung).within, seconds)


def _exit_hung(reason: str) -> None:
    log.critical("%s: ending this process, so that a new engine can replace it", reason)
    os._exit(spec.EXIT_HUNG)


def _load_failed(error: BaseException) -> LoadFailed:
    if isinstance(error, FarmError):
        return LoadFailed(error.code, error.message)
    log.error("the model could not be loaded", exc_info=error)
    return LoadFailed("model_unavailable", f"The model could not be loaded: {type(error).__name__}: {error}")
