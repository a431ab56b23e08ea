"""Kinds and states of operations on a model's weights."""

from __future__ import annotations

from enum import StrEnum


class OperationKind(StrEnum):
    """What an operation does with the weights of its model."""

    PULL = "pull"
    VERIFY = "verify"
    REMOVE_WEIGHTS = "remove-weights"


class OperationState(StrEnum):
    """State of an operation. A cancel request is a flag beside it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELED})
