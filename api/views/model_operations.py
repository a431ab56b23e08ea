"""Conversion of operations on models to the API's shape."""

from __future__ import annotations

import time

from api.caller import Caller
from core.api_keys import Scope
from core.model_operations import ENDED, OperationKind, OperationState
from core.schemas.base import iso
from core.schemas.model_operations import ModelOperation as OperationAnswer
from core.schemas.model_operations import OperationError, OperationProgress
from db.tables import ModelOperation

UNCLAIMED_SECONDS = 10.0
"""Managers look for operations every second: one that has waited this long has none, or only busy ones."""
_UNCLAIMED = (
    "No model manager has taken it yet. The reaper of `imagefarm up` is one; with separate services, run "
    "`imagefarm model-manager` next to the workers' models folder."
)


def operation_view(row: ModelOperation, caller: Caller) -> OperationAnswer:
    """Convert an operation; who requested it is shown to admins only."""
    state = OperationState(row.state)
    return OperationAnswer(
        id=row.id,
        kind=OperationKind(row.kind),
        model=row.model,
        state=state,
        revision=row.revision,
        progress=_progress(row),
        reason=_reason(row),
        error=OperationError(code=row.error_code, message=row.error_message or "") if row.error_code else None,
        result=row.result,
        cancel_requested=row.cancel_requested_at is not None,
        executor=row.executor,
        requested_by=row.requested_by if caller.may(Scope.ADMIN) else None,
        created_at=iso(row.created_at),
        started_at=iso(row.started_at),
        ended_at=iso(row.ended_at),
    )


def etag_of(row: ModelOperation) -> str:
    """Return a weak tag that changes with each change of the operation."""
    return f'W/"{row.revision}"'


def has_ended(row: ModelOperation) -> bool:
    """Return whether the operation changes no more."""
    return row.state in ENDED


def _progress(row: ModelOperation) -> OperationProgress | None:
    if row.state != OperationState.RUNNING or row.stage is None:
        return None
    return OperationProgress(stage=row.stage, done_bytes=row.done_bytes, total_bytes=row.total_bytes, detail=row.detail)


def _reason(row: ModelOperation) -> str | None:
    if row.state != OperationState.QUEUED:
        return None
    is_late = time.time() - row.created_at > UNCLAIMED_SECONDS
    return row.detail or (_UNCLAIMED if is_late and row.started_at is None else None)
