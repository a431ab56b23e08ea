"""Ask workers to load or to release a model: which workers, and a sentence on what each will do."""

from __future__ import annotations

from collections.abc import Sequence

from api.overview import Overview
from api.views.workers import state_of
from core.errors import Conflict, NotFound
from core.schemas.models import AskedWorker, ModelRequestAnswer
from db.database import Database
from db.tables import Worker
from db.worker_models import Request, request_model

_BEST_FIRST = ("loaded", "loading", "host_memory", "on_disk", "unavailable")


def ask_workers(
    database: Database, overview: Overview, running: dict[str, int], model: str, request: Request, worker: str | None
) -> ModelRequestAnswer:
    """Write the request for the workers that it concerns, and return what will happen.

    Raises NotFound for an unknown worker, Conflict `model_not_served` where none can do it.
    """
    able = _able(overview, model, worker)
    if request == "load":
        asked: Sequence[Worker] = [min(able, key=lambda each: _load_order(each, overview, model, running))]
    else:
        held = [each for each in able if overview.model_state(each, model) in ("loaded", "loading", "host_memory")]
        asked = held if worker is None else able
    request_model(database, model, [each.name for each in asked], request)
    answers = [
        AskedWorker(
            name=each.name,
            state=overview.model_state(each, model),
            message=_load_text(each, overview, model, running) if request == "load" else _unload_text(each, overview, model),
        )
        for each in asked
    ]
    return ModelRequestAnswer(model=model, request=request, workers=answers, message=_summary(model, request, answers))


def _able(overview: Overview, model: str, name: str | None) -> Sequence[Worker]:
    """Return the live workers that list the model, or the named one."""
    if name is not None and all(each.name != name for each in overview.workers):
        raise NotFound(f"There is no worker '{name}'.", code="worker_not_found")
    candidates = [each for each in overview.live if name in (None, each.name) and each.state != "draining"]
    able = [each for each in candidates if model in overview.listed(each) and each.drain_requested_at is None]
    if able:
        return able
    if name is None:
        raise Conflict(
            f"No live worker serves {model}. Start one with `imagefarm worker --model {model}`, or add {model} to a "
            "worker's models: `imagefarm worker --model FIRST,SECOND`.",
            code="model_not_served",
        )
    if not candidates:
        raise Conflict(f"Worker {name} is not running.", code="worker_not_running")
    models = ",".join(overview.listed(candidates[0]))
    raise Conflict(
        f"Worker {name} does not serve {model}; it serves {models}. Restart it with `imagefarm worker --name {name} "
        f"--model {models},{model}`.",
        code="model_not_served",
    )


def _load_order(worker: Worker, overview: Overview, model: str, running: dict[str, int]) -> tuple[bool, int, int, str]:
    state = overview.model_state(worker, model)
    return worker.paused_at is not None, _BEST_FIRST.index(state), running.get(worker.name, 0), worker.name


def _load_text(worker: Worker, overview: Overview, model: str, running: dict[str, int]) -> str:
    state, jobs = overview.model_state(worker, model), running.get(worker.name, 0)
    if state == "loaded":
        return "It is loaded already."
    if worker.paused_at is not None:
        return "The worker is paused: it loads the model once it is resumed."
    if state == "loading":
        return "It is being loaded already."
    first = f"finishes its {jobs} running {'job' if jobs == 1 else 'jobs'}, then " if jobs else ""
    other = f" in place of {worker.model}" if worker.model != model and state_of(worker, live=True) != "unloaded" else ""
    return f"The worker {first}loads it{other}; jobs for other models make it change again."


def _unload_text(worker: Worker, overview: Overview, model: str) -> str:
    if overview.model_state(worker, model) in ("on_disk", "unavailable"):
        return "It is not in memory there."
    return "The worker finishes the jobs that run, then frees the memory; the next job for it loads it again."


def _summary(model: str, request: Request, answers: Sequence[AskedWorker]) -> str:
    if not answers:
        return f"No worker has {model} in memory."
    names = ", ".join(each.name for each in answers)
    return f"{names} {'was' if len(answers) == 1 else 'were'} asked to {request} {model}."
