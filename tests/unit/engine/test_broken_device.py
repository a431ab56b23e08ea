"""A device that breaks outside of a step or a decode also ends the engine with EXIT_BROKEN_DEVICE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.integration.engine.recorder import a_request
from worker.engine import spec
from worker.engine.image_decoder import FinishedSample, ImageDecoder
from worker.engine.loop import EngineLoop

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def catchable_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make os._exit raise SystemExit."""

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("os._exit", leave)


def illegal_access(**_: object) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@contextmanager
def failing_wait(_what: str) -> Iterator[None]:
    """Surround work whose stream raises when it is waited for."""
    yield
    illegal_access()


def engine_loop(take: Callable[..., object]) -> EngineLoop:
    """Return a loop whose input queue is read by `take`."""
    info = SimpleNamespace(capacity=1, token_budget=1)
    parts: Any = SimpleNamespace(
        family=SimpleNamespace(max_samples=None),
        info=info,
        admission=None,
        device=CPU,
        peaks=None,
        on_idle=lambda: None,
        blocks=[],
        aborts_steps=True,
    )
    queues: Any = SimpleNamespace(input=SimpleNamespace(take=take, all_canceled=any), output=None)
    decoder: Any = SimpleNamespace(decoding=tuple)
    return EngineLoop(parts, queues, decoder)


def test_error_of_the_decode_stream_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageDecoder, "_decode_and_send", lambda *_: None)
    unused: Any = None
    parts: Any = SimpleNamespace(
        family=None,
        info=None,
        device=CPU,
        overlaps_decode=False,
        warnings_of=None,
        lora_hashes_of=None,
        around_decode=nullcontext,
    )
    queues: Any = SimpleNamespace(input=None, output=None)
    decoder = ImageDecoder(parts, queues, deadline=failing_wait)
    decoder._queue.put(FinishedSample(a_request(0), unused, unused, unused, unused))
    with pytest.raises(SystemExit) as ended:
        decoder._run()
    assert ended.value.code == spec.EXIT_BROKEN_DEVICE


def test_device_error_between_steps_ends_the_engine() -> None:
    with pytest.raises(SystemExit) as ended:
        engine_loop(illegal_access).run()
    assert ended.value.code == spec.EXIT_BROKEN_DEVICE


def test_other_error_of_the_loop_is_raised() -> None:
    def fail(**_: object) -> None:
        raise ValueError("a programming error")

    with pytest.raises(ValueError, match="a programming error"):
        engine_loop(fail).run()
