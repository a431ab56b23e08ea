"""Add this face to an application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from api.comfyui import about, images, prompts, socket_route
from api.comfyui.face import ComfyFace
from api.farm import Farm

_ROUTES = (prompts, images, about)
PREFIX = "/api"
"""Each call is there a second time under this prefix, as in ComfyUI."""


def add_routes(app: FastAPI) -> None:
    """Add the calls and the web socket."""
    app.router.routes.extend(_routes())


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Return the routes, which FastAPI builds anew for each router that includes them, once."""
    both = APIRouter()
    for module in _ROUTES:
        both.include_router(module.router)
        both.include_router(module.router, prefix=PREFIX, include_in_schema=False)
    for prefix in ("", PREFIX):
        both.include_router(socket_route.router, prefix=prefix)
    return tuple(both.routes)


@asynccontextmanager
async def running(app: FastAPI, farm: Farm) -> AsyncIterator[None]:
    """Keep prompts advancing while the process serves."""
    face = ComfyFace(farm)
    app.state.comfyui = face
    face.runner.start()
    try:
        yield
    finally:
        await face.runner.stop()
