"""Schemas of operations on models' weights."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from core.model_operations import OperationKind, OperationState
from core.schemas.base import ResponseBody


class OperationProgress(ResponseBody):
    """Bytes within the present stage: listing, downloading, converting, hashing, building or verifying."""

    stage: str
    done_bytes: int
    total_bytes: int
    detail: str | None = Field(None, description="The file that is being worked on.")


class OperationError(ResponseBody):
    """Why an operation failed. `message` tells people what to do."""

    code: str
    message: str


class ModelOperation(ResponseBody):
    """A pull, a check or a removal of a model's weights, which a model manager runs on its machine."""

    id: str
    kind: OperationKind
    model: str
    state: OperationState
    revision: int
    progress: OperationProgress | None = Field(None, description="While it runs.")
    reason: str | None = Field(None, description="Why it waits, and what to do.")
    error: OperationError | None = None
    result: dict[str, Any] | None = Field(
        None,
        description="pull: `already_here`. verify: `state` and `files`, each `ok`, `damaged` or `unknown` with size, "
        "SHA-256 and a sentence, and `problems`. remove-weights: `folders` and `freed_bytes`.",
    )
    cancel_requested: bool
    executor: str | None = Field(None, description="The machine that runs it, or ran it last.")
    requested_by: str | None = Field(None, description="Only for callers with the scope admin.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ModelOperationList(ResponseBody):
    """GET /v1/model-operations."""

    items: list[ModelOperation]
