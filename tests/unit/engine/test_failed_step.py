"""The error of a failed step keeps no tensor alive, and its log entry still says where it was raised."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch

from worker.engine.stepping import step_isolated


class _Sample:
    step = 0


class _Failing:
    def __init__(self) -> None:
        self.held: list[weakref.ref[torch.Tensor]] = []

    def step(self, samples: Sequence[Any]) -> None:
        activations = torch.ones(len(samples))
        self.held.append(weakref.ref(activations))
        try:
            self._multiply(activations)
        except ValueError as error:
            raise RuntimeError("the step failed") from error

    def _multiply(self, activations: torch.Tensor) -> None:
        raise ValueError(f"{len(activations)} rows")


def test_failed_step_is_located_in_the_log_and_keeps_no_tensors(caplog: pytest.LogCaptureFixture) -> None:
    family = _Failing()
    outcome = step_isolated(cast(Any, family), [_Sample()])
    (error,) = outcome.failed.values()
    assert str(error) == "the step failed"
    assert [reference() for reference in family.held] == [None]
    logging.getLogger("worker").error("request failed", exc_info=error)
    assert "in _multiply" in caplog.text and "ValueError: 1 rows" in caplog.text
