"""The FastAPI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import problems
from api.farm import Farm
from api.guard import Guard
from api.page import Page
from api.routes import (
    health,
    image_files,
    images,
    job_actions,
    job_events,
    jobs,
    models,
    presets,
    queue,
    uploads,
    usage,
    workers,
)
from api.version import VERSION
from core.settings import Settings

logger = logging.getLogger(__name__)

_ROUTES = (jobs, job_actions, job_events, images, image_files, uploads, models, presets, workers, queue, usage, health)
_ABOUT = "Submit prompts, follow their jobs, fetch the pictures. Errors are problem details (RFC 9457) with a stable `code`."


def create_app(settings: Settings) -> FastAPI:
    """An application over the database, Redis and image store that `settings` name; it opens them when it starts."""
    app = FastAPI(title="imagefarm", version=VERSION, description=_ABOUT, lifespan=_lifespan(settings), docs_url="/docs")
    for module in _ROUTES:
        app.include_router(module.router)
    app.router.default = Page()
    problems.install(app)
    app.add_middleware(Guard, settings=settings)
    return app


def _lifespan(settings: Settings):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- FastAPI's own type is private
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        farm = Farm(settings)
        app.state.farm = farm
        farm.start()
        try:
            yield
        finally:
            await farm.close()

    return lifespan
