"""Run the engine process: start its threads, load, step until stopped. Imports torch only after its first message."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from core.collections_pause import collect_from_now
from core.errors import FarmError
from core.queue import UPSCALE
from worker.engine import spec
from worker.engine.early_start import IMPORT_OPTION
from worker.engine.io_queues import EngineQueues
from worker.engine.messages import Channel, Load, LoadFailed, Loading, Ready, Release, Stop
from worker.engine.spec import EngineSpec
from worker.engine.watchdog import Deadline, Watchdog

if TYPE_CHECKING:
    from worker.engine.builder import OnProgress
    from worker.engine.kept_models import KeptModels
    from worker.engine.parts import EngineParts

    BuildEngine = Callable[[EngineSpec, OnProgress], EngineParts]
log = logging.getLogger(__name__)


def main(argv: list[str], build_with: BuildEngine | None = None) -> int:
    """Serve over the inherited socket whose number is `argv[0]`; return the exit status.

    With early_start.IMPORT_OPTION, import the libraries before the first message.
    """
    # Ctrl-C reaches the whole foreground group: the worker decides when its engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=os.environ.get("IMAGEFARM_LOG_LEVEL", "INFO"), format="engine %(levelname)s %(message)s")
    os.environ["HF_HUB_OFFLINE"] = "1"  # Read when the hub's client is imported: loading never downloads.
    channel = Channel.over(socket.socket(fileno=int(argv[0])))
    if IMPORT_OPTION in argv:
        with suppress(Exception):  # `load` imports them again, and reports what is wrong
            _import_libraries(compiles=False)
    try:
        first = channel.receive()
    except EOFError:  # the worker ended before it wanted an engine
        return 0
    if not isinstance(first, Load):
        raise TypeError(f"the first message must be Load, not {type(first).__name__}")
    return _serve(first.spec, channel, build_with)


def _serve(first: EngineSpec, channel: Channel, build_with: BuildEngine | None) -> int:
    """Serve one model after another, until Stop; return the exit status.

    A failure that says what is wrong with a later model leaves the process and its kept models as they are.
    """
    queues = EngineQueues.over(channel)
    if first.model == UPSCALE:
        return _serve_upscales(first, queues)
    models = EngineModels(queues, build_with)
    spec: EngineSpec | None = first
    while spec is not None:
        queues.output.put(Loading("importing" if spec is first else "reading"))
        try:
            parts = models.load(spec)
        except BaseException as error:  # noqa: BLE001 - every failure is reported to the worker
            failed = _load_failed(error, process_ends=spec is first or not isinstance(error, FarmError))
        else:
            queues.output.put(Ready(parts.info))
            spec = models.run(parts, spec.step_timeout_seconds)
            if spec is not None:
                models.keep(parts)
            del parts
            continue
        queues.output.put(failed)
        if failed.process_ends:
            queues.output.close()
            return 1
        spec = models.wait_for_next()
    queues.output.close()
    return 0


def _serve_upscales(spec: EngineSpec, queues: EngineQueues) -> int:
    """Be ready before torch is imported, which an upscaling worker without jobs never needs."""
    from worker.engine.upscaling import build_upscaling, upscaling_info

    info = upscaling_info(spec)
    queues.output.put(Ready(info))
    if not isinstance(queues.input.peek(), Stop):
        EngineModels(queues, None).run(build_upscaling(spec, info), spec.step_timeout_seconds)
    queues.output.close()
    return 0


class EngineModels:
    """Loads models, runs the loop of the loaded one and keeps others in host memory. Imports torch at the first load."""

    def __init__(self, queues: EngineQueues, build_with: BuildEngine | None) -> None:
        self._queues = queues
        self._build_with = build_with
        self._kept: KeptModels | None = None
        self._has_heartbeat = False

    def load(self, spec: EngineSpec) -> EngineParts:
        """Return the model that the spec names, from host memory if it is there. Raises whatever loading raises."""
        if self._build_with is None:
            _import_libraries(compiles=bool(spec.compile_blocks))
        from worker.device.torch_device import free_cached_memory
        from worker.engine.kept_models import KeptModels

        if self._kept is None:
            self._kept = KeptModels()
        else:
            free_cached_memory()  # Of the former model, which nothing refers to any more unless it is kept.
        if (kept := self._kept.take(spec.model)) is not None:
            return kept
        parts = self._build(spec)
        return dataclasses.replace(parts, info=dataclasses.replace(parts.info, in_host_memory=self._kept.names()))

    def keep(self, parts: EngineParts) -> None:
        """Keep a model that no request uses any more in host memory, where it fits."""
        if self._kept is not None:
            self._kept.keep(parts)

    def wait_for_next(self) -> EngineSpec | None:
        """Wait without a loaded model; return what to load, None to end."""
        while True:
            for item in self._queues.input.take(wait=True):
                match item:
                    case Load(spec):
                        return spec
                    case Release(model):
                        self._release(model)
                    case Stop():
                        return None

    def run(self, parts: EngineParts, timeout_seconds: float) -> EngineSpec | None:
        """Render until Load or Stop; return what to load next, None to end."""
        if parts.device.type == "cpu" and not self._has_heartbeat:
            from worker.engine.heartbeat import start_cpu_heartbeat

            start_cpu_heartbeat(self._queues.output, timeout_seconds)
            self._has_heartbeat = True
        return _run(parts, self._queues, timeout_seconds, self._release)

    def _release(self, model: str) -> None:
        if self._kept is not None:
            self._kept.release(model)

    def _build(self, spec: EngineSpec) -> EngineParts:
        def on_progress(stage: str, fraction: float | None) -> None:
            self._queues.output.put(Loading(stage, fraction))

        if self._build_with is not None:
            return self._build_with(spec, on_progress)
        from worker.engine.builder import build_engine

        return build_engine(spec, on_progress, self._kept)


def _run(
    parts: EngineParts, queues: EngineQueues, timeout_seconds: float, on_release: Callable[[str], None]
) -> EngineSpec | None:
    from worker.engine.image_decoder import ImageDecoder
    from worker.engine.loop import EngineLoop
    from worker.engine.prompt_encoder import PromptEncoder

    encoder = PromptEncoder(parts.family, queues.input.put, _deadline(timeout_seconds)) if parts.overlaps_encode else None
    _end_pause_of_collections()
    decoder = ImageDecoder(parts, queues, _deadline(timeout_seconds))
    following = EngineLoop(parts, queues, decoder, encoder, on_release).run()
    decoder.close()
    if encoder is not None:
        encoder.close()
    return following


def _import_libraries(*, compiles: bool) -> None:
    from worker.engine.lean_imports import import_leanly

    import_leanly(compiles=compiles)  # before anything imports diffusers
    from worker.engine import builder  # noqa: F401 -- which imports the others

    _end_pause_of_collections()


def _end_pause_of_collections() -> None:
    if not gc.isenabled():
        collect_from_now()


def _deadline(seconds: float) -> Deadline:
    """Return a deadline for one thread that runs next to the loop.

    The worker's watchdog cannot notice when such a thread hangs: it receives messages as long as other requests step.
    """
    return partial(Watchdog(_exit_hung).within, seconds)


def _exit_hung(reason: str) -> None:
    log.critical("%s: ending this process, so that a new engine can replace it", reason)
    os._exit(spec.EXIT_HUNG)


def _load_failed(error: BaseException, *, process_ends: bool) -> LoadFailed:
    if isinstance(error, FarmError):
        return LoadFailed(error.code, error.message, process_ends)
    log.error("the model could not be loaded", exc_info=error)
    if _is_out_of_memory(error):
        return LoadFailed(
            "out_of_memory",
            "Memory ran out while the model was loaded or rendered its first images. Free memory on the device, or set "
            f"IMAGEFARM_MEMORY_POLICY to a tier that needs less: {str(error).strip().partition(chr(10))[0] or 'no details'}",
        )
    return LoadFailed("model_unavailable", f"The model could not be loaded: {type(error).__name__}: {error}")


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:  # It may be what cannot be imported.
        return isinstance(error, MemoryError)
    from worker.device.faults import is_out_of_memory

    return is_out_of_memory(error)
