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
from worker.engine import exits
from worker.engine.events import LoadFailed, Loading, Ready
from worker.engine.inbox import Inbox
from worker.engine.messages import Channel, Load
from worker.engine.outbox import Outbox
from worker.engine.spec import EngineSpec
from worker.engine.watchdog import Deadline, Watchdog

if TYPE_CHECKING:
    from worker.engine.opening import OnProgress, Opened

    Open = Callable[[EngineSpec, OnProgress], Opened]
log = logging.getLogger(__name__)


def main(argv: list[str], open_with: Open | None = None) -> int:
    """`argv`: the number of the inherited socket. Returns the exit status."""
    # Ctrl-C reaches the whole terminal group: the worker decides when its engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=os.environ.get("IMAGEFARM_LOG_LEVEL", "INFO"), format="engine %(levelname)s %(message)s")
    os.environ["HF_HUB_OFFLINE"] = "1"  # Read when the hub's client is imported: loading never downloads.
    channel = Channel.over(socket.socket(fileno=int(argv[0])))
    first = channel.receive()
    if not isinstance(first, Load):
        raise TypeError(f"the first message must be Load, not {type(first).__name__}")
    return _serve(first.spec, channel, open_with)


def _serve(spec: EngineSpec, channel: Channel, open_with: Open | None) -> int:
    inbox, outbox = Inbox(channel), Outbox(channel)
    outbox.put(Loading("importing"))
    try:
        opened = (open_with or _open)(spec, lambda stage, fraction: outbox.put(Loading(stage, fraction)))
    except BaseException as error:  # noqa: BLE001 - the worker is told of anything at all
        outbox.put(_load_failed(error))
        outbox.close()
        return 1
    outbox.put(Ready(opened.info))
    _run(opened, inbox, outbox, spec.step_timeout_seconds)
    outbox.close()
    return 0


def _open(spec: EngineSpec, on_progress: OnProgress) -> Opened:
    from worker.engine.opening import open_engine

    return open_engine(spec, on_progress)


def _run(opened: Opened, inbox: Inbox, outbox: Outbox, timeout_seconds: float) -> None:
    from worker.engine.abandon import Abandon
    from worker.engine.encoding import Encoder
    from worker.engine.finishing import Finisher
    from worker.engine.liveness import tell_while_computing
    from worker.engine.loop import Loop
    from worker.engine.pacing import Pacer
    from worker.engine.step_parts import StepParts

    family, info, device = opened.family, opened.info, opened.device
    if device.type == "cpu":
        tell_while_computing(outbox, timeout_seconds)
    encoder = Encoder(family, inbox.put, _deadline(timeout_seconds)) if opened.overlaps_encode else None
    finisher = Finisher(family, info, outbox, device, opened.overlaps_decode, inbox.put, _deadline(timeout_seconds))
    abandon = Abandon(opened.blocks if opened.leaves_steps else (), inbox.all_canceled)
    parts, pacer = StepParts(opened.blocks, once_each=opened.leaves_steps), Pacer(device)
    Loop(family, info, opened.admission, pacer, finisher, inbox, outbox, opened.peaks, encoder, abandon, parts).run()
    finisher.close()


def _deadline(seconds: float) -> Deadline:
    """For one thread beside the loop: its worker hears from the engine while others step, and would wait for ever."""
    return partial(Watchdog(_end_hung).within, seconds)


def _end_hung(reason: str) -> None:
    log.critical("%s: ending, so that a new engine can take over", reason)
    os._exit(exits.HUNG)


def _load_failed(error: BaseException) -> LoadFailed:
    if isinstance(error, FarmError):
        return LoadFailed(error.code, error.message)
    log.error("the model could not be loaded", exc_info=error)
    return LoadFailed("model_unavailable", f"The model could not be loaded: {type(error).__name__}: {error}")
