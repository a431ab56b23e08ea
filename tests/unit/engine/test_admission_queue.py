"""A request whose preparation runs out of memory waits for the others, and holds no memory meanwhile."""

from __future__ import annotations

import weakref
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from tests.integration.engine.recorder import a_request
from worker.engine.active_request import ActiveRequest, Encoded
from worker.engine.admission_queue import AdmissionQueue


class Memory:
    """Notes at each emptying of the allocator's cache whether the failed call's tensor is still alive."""

    def __init__(self) -> None:
        self.tensor: weakref.ref[torch.Tensor] | None = None
        self.alive: list[bool] = []

    def run_out(self, *_: object) -> None:
        tensor = torch.ones(4)
        self.tensor = weakref.ref(tensor)
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        except RuntimeError as error:
            raise torch.OutOfMemoryError("CUDA out of memory, twice.") from error

    def empty_cache(self) -> None:
        assert self.tensor is not None
        self.alive.append(self.tensor() is not None)


@pytest.mark.parametrize("method", ["encode", "start", "encoder"])
def test_an_encode_that_does_not_fit_frees_its_memory_and_waits(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    monkeypatch.setattr("worker.engine.admission_queue.free_cached_memory", memory.empty_cache)
    family = Mock(max_samples=None)
    family.cached_conditioning.return_value = None
    if method != "encoder":
        getattr(family, method).side_effect = memory.run_out
    active: list[Any] = [ActiveRequest(a_request(1), b"", 0.0)]
    failed = Mock()
    queue = AdmissionQueue(
        Mock(family=family, info=Mock(capacity=4)), active, lambda: (), Mock(), failed, Mock(is_busy=False)
    )
    new = ActiveRequest(a_request(2), b"", 0.0)
    if method == "encoder":
        queue.enqueue(new)
        queue.admit()
        queue.handle_encoded(Encoded(new, error=caught(memory)))
    else:
        queue._encoder = None
        queue.enqueue(new)
        queue.admit()
    assert memory.alive == [False]
    assert new.run_alone
    assert queue.pending() == [new]
    failed.assert_not_called()


def caught(memory: Memory) -> BaseException:
    """Return the error as the encoder's thread passes it on."""
    try:
        memory.run_out()
    except RuntimeError as error:
        return error
    raise AssertionError
