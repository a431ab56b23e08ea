"""A device that breaks outside of a step or a decode ends the engine too, with the status that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.integration.engine.recorder import a_request
from worker.engine import spec
from worker.engine.image_decoder import FinishedSample, ImageDecoder
from worker.engine.loop import EngineLoop
from worker.engine.stepping import DevicePacer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def catchable_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """os._exit as an exception."""

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("os._exit", leave)


def illegal_access(**_: object) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@contextmanager
def broken(_what: str) -> Iterator[None]:
    """Around work whose stream raises when it is waited for."""
    yield
    illegal_access()


def test_an_error_of_the_decodes_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageDecoder, "_decode_and_send", lambda *_: None)
    unused: Any = None
    finisher = ImageDecoder(unused, unused, unused, CPU, overlapped=False, deadline=broken)
    finisher._queue.put(FinishedSample(a_request(0), unused, unused, unused, unused))
    with pytest.raises(SystemExit) as ended:
        finisher._run()
    assert ended.value.code == spec.EXIT_BROKEN_DEVICE


def test_an_error_between_the_steps() -> None:
    parts: Any = SimpleNamespace(
        concurrent=None, capacity=1, token_budget=1, take=illegal_access, decoding=tuple, all_canceled=any
    )
    with pytest.raises(SystemExit) as ended:
        EngineLoop(parts, parts, parts, DevicePacer(CPU), parts, parts, parts).run()
    assert ended.value.code == spec.EXIT_BROKEN_DEVICE


def test_another_error_of_the_loop_is_not_taken_for_a_broken_device() -> None:
    def fail(**_: object) -> None:
        raise ValueError("a mistake of ours")

    parts: Any = SimpleNamespace(concurrent=None, capacity=1, token_budget=1, take=fail, decoding=tuple, all_canceled=any)
    with pytest.raises(ValueError, match="a mistake of ours"):
        EngineLoop(parts, parts, parts, DevicePacer(CPU), parts, parts, parts).run()
