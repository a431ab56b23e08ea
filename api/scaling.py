"""How many workers the open jobs need, and how long a new one takes to start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from api.overview import Overview
from core.schemas.scaling import Scaling, ScalingOfModel
from db.tables import Worker

COOLDOWN_SECONDS = 300
"""Shortest cooldown; a longer cold start makes it longer."""
COLD_STARTS = 4


def scaling_of(
    counts: Mapping[str, Mapping[str, int]], overview: Overview, model: str | None, jobs_per_worker: int | None
) -> Scaling:
    """Return the load of every model, or of `model` alone.

    `counts`: model -> status -> jobs. `jobs_per_worker`: None for what live workers of the model hold at once, else 1.
    """
    live = [worker for worker in overview.workers if worker.name in overview.live_names]
    known = {*counts, *(each for worker in live for each in overview.listed(worker))}
    rows = [
        _row(each, counts.get(each, {}), overview, jobs_per_worker)
        for each in sorted({model} if model is not None else known)
    ]
    cold = max((row.cold_start_seconds for row in rows if row.cold_start_seconds is not None), default=None)
    return Scaling(
        queued=sum(row.queued for row in rows),
        running=sum(row.running for row in rows),
        open_jobs=sum(row.open_jobs for row in rows),
        live_workers=len(_names(worker for row in rows for worker in overview.serving(row.model))),
        desired_workers=sum(row.desired_workers for row in rows),
        cold_start_seconds=cold,
        cooldown_seconds=max(COOLDOWN_SECONDS, math.ceil(COLD_STARTS * (cold or 0.0))),
        models=rows,
    )


def _row(model: str, counts: Mapping[str, int], overview: Overview, jobs_per_worker: int | None) -> ScalingOfModel:
    serving, queued, running = overview.serving(model), counts.get("queued", 0), counts.get("running", 0)
    each = jobs_per_worker or max([1, *(worker.capacity for worker in serving)])  # 0 while a worker loads its model
    return ScalingOfModel(
        model=model,
        queued=queued,
        running=running,
        open_jobs=queued + running,
        live_workers=len(serving),
        desired_workers=math.ceil((queued + running) / each),
        cold_start_seconds=overview.cold_start_seconds(model),
    )


def _names(workers: Iterable[Worker]) -> set[str]:
    return {worker.name for worker in workers}
