"""The GET calls of the API, by route: what is measured of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.a1111.options import EMPTY_LISTS, EMPTY_OBJECTS
from core.lifecycle import SETTLED, JobStatus


@dataclass(frozen=True)
class Call:
    """A request; `{name}` in `path` stands for a sample of the farm. `reads_all`: why its time grows with the rows."""

    path: str
    status: int = 200
    reads_all: str = ""


def _calls(*paths: str) -> tuple[Call, ...]:
    return tuple(map(Call, paths))


PAGE = "the page"
"""Served when no route matches."""
_EVERY_STATUS = tuple(f"status={status}" for status in JobStatus)
_SETTLED = "&".join(f"status={status}" for status in sorted(SETTLED))
_COMFYUI = {
    "/prompt": _calls("/prompt"),
    "/queue": _calls("/queue"),
    "/history": _calls("/history"),
    "/history/{prompt_id}": _calls("/history/none"),
    "/object_info": _calls("/object_info"),
    "/object_info/{node_class}": _calls("/object_info/KSampler"),
    "/system_stats": _calls("/system_stats"),
    "/view": (Call("/view?filename=none.png", 404),),
}
CALLS: Mapping[str, tuple[Call, ...]] = {
    "/openapi.json": _calls("/openapi.json"),
    "/healthz": _calls("/healthz"),
    "/readyz": _calls("/readyz"),
    "/metrics": _calls("/metrics"),
    "/v1/queue": _calls("/v1/queue"),
    "/v1/usage": _calls("/v1/usage", "/v1/usage?days=366"),
    "/v1/workers": _calls("/v1/workers"),
    "/v1/workers/{name}": _calls("/v1/workers/box-gpu"),
    "/v1/jobs": _calls(
        "/v1/jobs?limit=24",  # what the page polls
        "/v1/jobs?limit=200",
        "/v1/jobs?cursor={old_job}",
        *(f"/v1/jobs?{status}" for status in _EVERY_STATUS),
        *(f"/v1/jobs?mine=true&{status}" for status in _EVERY_STATUS),
        "/v1/jobs?status=queued&status=running",
        f"/v1/jobs?{_SETTLED}",
        "/v1/jobs?model=z-image-turbo",
        "/v1/jobs?model=none",
        "/v1/jobs?kind=upscale",
        "/v1/jobs?status=failed&model=none",
        "/v1/jobs?q=watercolour",
        "/v1/jobs?q=xylophone",
        "/v1/jobs?mine=true&q=xylophone",
    ),
    "/v1/jobs/{job_id}": _calls("/v1/jobs/{job}", "/v1/jobs/{queued_job}", "/v1/jobs/{old_job}"),
    "/v1/jobs/{job_id}/history": _calls("/v1/jobs/{job}/history"),
    "/v1/jobs/{job_id}/events": _calls("/v1/jobs/{job}/events"),
    "/v1/jobs/{job_id}/preview": (Call("/v1/jobs/{queued_job}/preview", 404),),
    "/v1/images/{image_id}": _calls("/v1/images/{image}"),
    "/v1/images/{image_id}/content": _calls("/v1/images/{image}/content"),
    "/v1/images/{image_id}/thumbnail": _calls("/v1/images/{image}/thumbnail"),
    "/v1/images/{image_id}/lineage": _calls("/v1/images/{image}/lineage"),
    "/v1/exports": (
        Call("/v1/exports?job={job}"),
        Call("/v1/exports?q=xylophone&since={recent}", 404),
        Call("/v1/exports?until=2020-01-01", 404),
        Call("/v1/exports?q=xylophone", 404, "a search of all prompts"),
        Call("/v1/exports?min_rating=5", 404, "a search of all ratings"),
    ),
    "/v1/batches": _calls("/v1/batches"),
    "/v1/batches/{batch_id}": _calls("/v1/batches/{batch}"),
    "/v1/batches/{batch_id}/contact-sheet": _calls("/v1/batches/{batch}/contact-sheet"),
    "/v1/batches/{batch_id}/ratings.csv": _calls("/v1/batches/{batch}/ratings.csv"),
    "/v1/uploads/{upload_id}": _calls("/v1/uploads/{upload}"),
    "/v1/webhooks": _calls("/v1/webhooks"),
    "/v1/webhooks/deliveries": _calls(
        "/v1/webhooks/deliveries",
        *(f"/v1/webhooks/deliveries?status={status}" for status in ("pending", "delivered", "failed")),
        "/v1/webhooks/deliveries?job_id={job}",
    ),
    "/v1/models": _calls("/v1/models"),
    "/v1/models/{model_id}": _calls("/v1/models/demo"),
    "/v1/models/files": _calls("/v1/models/files"),
    "/v1/model-operations": _calls("/v1/model-operations"),
    "/v1/model-operations/{operation_id}": _calls("/v1/model-operations/{operation}"),
    "/v1/styles": _calls("/v1/styles"),
    "/v1/styles/export": _calls("/v1/styles/export"),
    "/v1/upscalers": _calls("/v1/upscalers"),
    "/v1/loras": _calls("/v1/loras"),
    "/v1/loras/{name}": (Call("/v1/loras/none", 404),),
    "/v1/presets": _calls("/v1/presets"),
    "/v1/recipes": _calls("/v1/recipes"),
    "/v1/wildcards": _calls("/v1/wildcards"),
    "/v1/wildcards/{name}": (Call("/v1/wildcards/none", 404),),
    "/v1/session": _calls("/v1/session"),
    "/sdapi/v1/progress": _calls("/sdapi/v1/progress"),
    "/sdapi/v1/sd-models": _calls("/sdapi/v1/sd-models"),
    "/sdapi/v1/prompt-styles": _calls("/sdapi/v1/prompt-styles"),
    "/sdapi/v1/samplers": _calls("/sdapi/v1/samplers"),
    "/sdapi/v1/schedulers": _calls("/sdapi/v1/schedulers"),
    "/sdapi/v1/options": _calls("/sdapi/v1/options"),
    "/sdapi/v1/loras": _calls("/sdapi/v1/loras"),
    **{f"/sdapi/v1/{name}": _calls(f"/sdapi/v1/{name}") for name in (*EMPTY_LISTS, *EMPTY_OBJECTS)},
    "/sdapi/v1/upscalers": _calls("/sdapi/v1/upscalers"),
    "/sdapi/v1/memory": _calls("/sdapi/v1/memory"),
    "/internal/ping": _calls("/internal/ping"),
    "/v1/images": (
        *_calls("/v1/images", "/v1/images?limit=200", "/v1/images?offset=5000", "/v1/images?owner=none"),
        *_calls("/v1/images?since={recent}", "/v1/images?until=2020-01-01", "/v1/images?batch={batch}&count=true"),
        Call("/v1/images?limit=100&count=true", reads_all="a count of up to 200,000 images"),  # what the page asks first
        Call("/v1/images?q=xylophone&count=true", reads_all="a search of all prompts"),
        Call("/v1/images?model=none&count=true", reads_all="a search of all images"),
        Call("/v1/images?lora=none&count=true", reads_all="a search of all images"),
        Call("/v1/images?min_rating=5&count=true", reads_all="a search of all ratings"),
    ),
    "/v1/collections": _calls("/v1/collections"),
    "/v1/choices": _calls("/v1/choices"),
    "/v1/keys": _calls("/v1/keys"),
    "/v1/statistics": (
        Call("/v1/statistics"),
        Call("/v1/statistics?hours=168", reads_all="up to 100,000 jobs that ended in these hours"),
    ),
    "/v1/join/constraints": (Call("/v1/join/constraints", 403),),
    "/v1/join/install": _calls("/v1/join/install"),
    "/v1/join/package": (Call("/v1/join/package", 403),),
    "/v1/nodes": _calls("/v1/nodes"),
    "/v1/scaling": _calls("/v1/scaling"),
    "/v1/events": (),  # a stream without an end, which reads no rows
    **_COMFYUI,
    **{f"/api{path}": () for path in _COMFYUI},  # the same functions again
    PAGE: _calls("/"),
}
"""Route -> its calls; more than one where filters take other ways through the database."""


def missing_calls(app: FastAPI) -> list[str]:
    """Return the GET routes of the application that no call measures."""
    return sorted(get_routes(app) - set(CALLS))


def get_routes(app: FastAPI) -> set[str]:
    """Return the paths of the application that answer GET."""
    contexts = iter_route_contexts(app.routes)
    return {context.path for context in contexts if context.path is not None and "GET" in (context.methods or ())}
