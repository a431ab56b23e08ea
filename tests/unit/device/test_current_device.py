"""Threads start on the first GPU, whichever one the engine uses: streams and events must name theirs."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worker.device.torch_device import use_device
from worker.engine.image_decoder import ImageDecoder
from worker.engine.stepping import DevicePacer

SECOND = torch.device("cuda", 1)


class FakeEvent:
    """Records the stream that it was recorded on."""

    def __init__(self, blocking: bool = False) -> None:
        self.blocking = blocking

    def record(self, stream: object) -> None:
        self.stream = stream

    def synchronize(self) -> None: ...


@pytest.fixture(autouse=True)
def current(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Record which GPU was made current; streams are named after theirs."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"own stream of {device}")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    return current


def test_the_gpu_is_made_current(current: list[torch.device]) -> None:
    use_device(torch.device("cpu"))
    assert current == []
    use_device(SECOND)
    assert current == [SECOND]


def test_the_pacer_uses_the_engines_gpu() -> None:
    pacer = DevicePacer(SECOND)
    pacer.after_step()
    assert pacer._last.stream == "stream of cuda:1"
    assert pacer._last.blocking


def test_a_decode_waits_for_the_engines_gpu() -> None:
    parts: Any = SimpleNamespace(
        family=None,
        info=None,
        device=SECOND,
        overlaps_decode=True,
        warnings_of=None,
        lora_hashes_of=None,
        around_decode=nullcontext,
    )
    queues: Any = SimpleNamespace(input=None, output=None)
    decoder = ImageDecoder(parts, queues)
    try:
        assert decoder._record_event().stream == "stream of cuda:1"
    finally:
        decoder.close()
