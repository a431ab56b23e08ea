"""Conversion of workers and models to the API's shapes."""

from __future__ import annotations

from collections.abc import Sequence

from api.model_selection import ModelSelector
from api.overview import Overview
from api.views.queue import reason_not_served
from core.catalogue import CatalogueModel, noise_notice
from core.schemas.base import iso
from core.schemas.models import Model
from core.schemas.workers import ModelOfWorker
from core.schemas.workers import Worker as WorkerAnswer
from db.nodes import host_of
from db.tables import Worker, WorkerModel


def worker_view(worker: Worker, models: Sequence[WorkerModel], *, live: bool, running: int) -> WorkerAnswer:
    """Convert a worker's row and those of its models; `running` is how many jobs it holds now."""
    return WorkerAnswer.model_construct(
        name=worker.name,
        state=state_of(worker, live=live),
        live=live,
        message=worker.message if worker.quarantined_until is None else worker.quarantine_reason,
        host=host_of(worker),
        version=worker.version,
        quarantined_until=iso(worker.quarantined_until),
        model=worker.model,
        models=[
            ModelOfWorker.model_construct(
                id=each.model,
                state=each.state if live else "on_disk",
                message=each.message,
                load_seconds=None if each.load_seconds is None else round(each.load_seconds, 3),
            )
            for each in models
        ],
        device=worker.device,
        capacity=worker.capacity,
        running=running,
        info=worker.info,
        started_at=iso(worker.started_at),  # type: ignore[arg-type]
        seen_at=iso(worker.seen_at),  # type: ignore[arg-type]
    )


def state_of(worker: Worker, *, live: bool) -> str:
    """Return the state to show: the reported state, or `lost`, `paused`, `quarantined` or `draining`."""
    if worker.state in ("stopped", "failed"):
        return worker.state
    if not live:
        return "lost"
    if worker.drain_requested_at is not None:
        return "draining"
    if worker.paused_at is not None:
        return "paused"
    return "quarantined" if worker.quarantined_until is not None else worker.state


def model_view(model: CatalogueModel, overview: Overview, model_selector: ModelSelector, *, default: bool) -> Model:
    """Convert a model of the catalogue, with the workers that serve it now."""
    workers = overview.serving(model.id)
    state = model_state(model.id, overview)
    refusal = model_selector.refusal(model, overview)
    return Model(
        id=model.id,
        owned_by=model.weights.repo.partition("/")[0] or "imagefarm",
        title=model.title,
        about=model.about,
        aliases=list(model.aliases),
        family=model.family,
        served=bool(workers),
        accepts_jobs=refusal is None,
        default=default,
        workers=[worker.name for worker in workers],
        loaded_by=[worker.name for worker in workers if overview.model_state(worker, model.id) == "loaded"],
        state=state,
        reason=_loading_message(model.id, workers) if workers else refusal or reason_not_served(model.id, overview),
        notice=noise_notice(model) or None,
        defaults=model.defaults.model_dump(),
        limits=model.limits.model_dump(),
        guidance=model.cfg != "none",
        negative_prompt=model.negative_prompt,
        image_to_image=model.img2img,
        inpainting=model.takes_mask,
        licence=model.licence,
        commercial=model.commercial,
        notes=list(model.notes),
    )


def model_state(model_id: str, overview: Overview) -> str:
    """Return the best state among the model's workers."""
    states = {_state_on(worker, model_id, overview) for worker in overview.serving(model_id)}
    for state in ("ready", "blocked", "loading", "unloaded", "quarantined", "paused", "draining"):
        if state in states:
            return state
    known = [worker for worker in overview.workers if model_id in overview.listed(worker)]
    if any(worker.state == "failed" for worker in known):
        return "failed"
    return "away" if known else "not_served"


def _state_on(worker: Worker, model_id: str, overview: Overview) -> str:
    """Return the state of one model on a live worker: the worker's own, unless it has another model loaded."""
    state, model_state = state_of(worker, live=True), overview.model_state(worker, model_id)
    if state not in ("ready", "loading", "unloaded") or (model_state == "loaded" and state == "ready"):
        return state
    return "loading" if model_state == "loading" else "unloaded"


def _loading_message(model_id: str, workers: Sequence[Worker]) -> str | None:
    """Return how far a worker is with loading the model, such as `demo: reading (40%)`."""
    return next((worker.message for worker in workers if worker.model == model_id and worker.state == "loading"), None)
