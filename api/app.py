"""FastAPI application: routes, faces, middleware and lifespan."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from api import problems
from api.a1111 import options as a1111_options
from api.a1111 import progress as a1111_progress
from api.a1111 import render as a1111_render
from api.a1111.errors import a1111_error
from api.farm import Farm
from api.head_requests import HeadAsGet
from api.metrics import Metrics, MetricsMiddleware
from api.openai.errors import openai_error
from api.openai.routes import router as openai_router
from api.page import Page
from api.public_address import PublicAddressMiddleware, use_configured
from api.request_guard import RequestGuard
from api.routes import (
    batches,
    exports,
    health,
    images,
    job_events,
    jobs,
    join,
    loras,
    model_changes,
    model_loading,
    model_operations,
    models,
    nodes,
    parameters,
    presets,
    queue,
    recipes,
    refine,
    session,
    styles,
    uploads,
    upscales,
    usage,
    webhooks,
    wildcards,
    workers,
)
from api.security_headers import SecurityHeaders
from core.settings import Settings
from core.version import VERSION
from storage.stores import link_origin

logger = logging.getLogger(__name__)

_ROUTES = (
    batches,
    jobs,
    job_events,
    images,
    refine,
    exports,
    parameters,
    uploads,
    model_operations,
    model_changes,
    upscales,
    models,
    loras,
    model_loading,
    presets,
    recipes,
    styles,
    wildcards,
    workers,
    nodes,
    join,
    queue,
    usage,
    webhooks,
    session,
    health,
)
_ABOUT = "Submit prompts, follow their jobs, fetch the images. Errors are problem details (RFC 9457) with a stable `code`."


class Application(FastAPI):
    """FastAPI whose outermost middleware also wraps its handler of unexpected errors."""

    def __init__(self, settings: Settings, **options: Any) -> None:  # noqa: ANN401 -- FastAPI's own
        super().__init__(**options)
        self._settings = settings

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap FastAPI's stack."""
        return SecurityHeaders(HeadAsGet(PublicAddressMiddleware(super().build_middleware_stack(), self._settings)))


def create_app(settings: Settings) -> FastAPI:
    """Create the application over the database, Redis and image store of `settings`; it opens them when it starts."""
    measured = Metrics()
    app = Application(
        settings,
        title="imagefarm",
        version=VERSION,
        description=_ABOUT,
        routes=_routes(),
        lifespan=_lifespan(settings, measured),
        servers=[{"url": ".", "description": "Where this document was read from."}],
        docs_url=None,  # FastAPI's pages load scripts from a CDN; web/docs.html does not
        redoc_url=None,
    )
    app.router.default = Page(link_origin(settings))
    problems.install(app, {"/v1/images/generations": openai_error, "/sdapi/": a1111_error, "/internal/": a1111_error})
    app.add_middleware(RequestGuard, settings=settings)
    app.add_middleware(MetricsMiddleware, metrics=measured)
    return app


def _routes() -> list[BaseRoute]:
    """Return all routes. FastAPI builds those of included routers again, and matches each request twice in them."""
    faces = (openai_router, *(module.router for module in (a1111_render, a1111_progress, a1111_options)))
    return [route for router in (*(module.router for module in _ROUTES), *faces) for route in router.routes]


def _lifespan(settings: Settings, measured: Metrics):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- FastAPI's own type is private
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        use_configured(settings)  # for links that background tasks write, such as webhooks
        farm = Farm(settings, measured)
        app.state.farm = farm
        farm.start()
        try:
            yield
        finally:
            await farm.close()

    return lifespan
