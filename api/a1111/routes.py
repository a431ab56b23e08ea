"""All routes of the A1111 face."""

from __future__ import annotations

from fastapi import APIRouter

from api.a1111 import lists, progress, render

router = APIRouter()
for _module in (render, progress, lists):
    router.include_router(_module.router)
