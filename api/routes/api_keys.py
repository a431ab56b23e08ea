"""API keys, for administrators: list with limits and use, create, revoke."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import AdminDependency, FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.api_keys import Scope
from core.errors import Conflict
from core.schemas.api_keys import KeyList, KeyRequest, KeyUse, NewKey
from core.schemas.base import iso
from db import api_keys
from db.quotas import bucket, used_today
from db.tables import ApiKey

router = APIRouter(prefix="/v1/keys", tags=["farm"], route_class=LazyRoute)


@router.get("", response_model=KeyList, summary="List API keys", responses=error_responses())
async def read_keys(farm: FarmDependency, admin: AdminDependency) -> Response:
    """List all keys with their limits and what they have used today; secrets are not stored."""
    return json_response(await in_thread(_keys, farm))


@router.post(
    "", status_code=201, response_model=NewKey, summary="Create an API key", responses=error_responses(400, 409, 413, 415)
)
async def create_key(farm: FarmDependency, admin: AdminDependency, wanted: KeyRequest) -> Response:
    """Create a key. Only this response contains it.

    Once any key was created, every caller needs one, for good. So the first must have the scope admin.
    """
    return json_response(await in_thread(_create, farm, wanted), 201, {"Cache-Control": "no-store"})


@router.delete("/{key_id}", status_code=204, summary="Revoke an API key", responses=error_responses(404, 409))
async def revoke_key(farm: FarmDependency, admin: AdminDependency, key_id: str) -> Response:
    """Revoke a key for good; it and the page's sign-ins with it stop working within seconds. The jobs of its owner stay.

    The last valid key with the scope admin is kept: without it nobody could administer the farm over HTTP.
    """
    await in_thread(api_keys.revoke_key, farm.database, key_id, keep_admin=True)
    return Response(status_code=204)


def _keys(farm: Farm) -> KeyList:
    used = used_today(farm.database, bucket("pixels", 86_400)[0])
    return KeyList(items=[KeyUse(**_facts(row, used.get(row.id, 0))) for row in api_keys.list_keys(farm.database)])


def _create(farm: Farm, wanted: KeyRequest) -> NewKey:
    if Scope.ADMIN not in wanted.scopes and not api_keys.any_ever(farm.database):
        raise Conflict(
            "From the first key on, every caller needs one: create a key with the scope admin first.", code="admin_key_first"
        )
    days = wanted.expires_in_days
    row, key = api_keys.create_key(
        farm.database,
        api_keys.NewKey(
            name=wanted.name,
            owner=wanted.owner,
            scopes=tuple(dict.fromkeys(wanted.scopes)),
            max_queued=wanted.max_queued,
            submits_per_minute=wanted.submits_per_minute,
            pixels_per_day=wanted.pixels_per_day,
            expires_in_seconds=None if days is None else days * 86_400,
        ),
    )
    return NewKey(**_facts(row, 0), key=key)


def _facts(row: ApiKey, pixels_today: int) -> dict[str, Any]:
    names = ("id", "name", "owner", "scopes", "max_queued", "submits_per_minute", "pixels_per_day")
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    active = row.revoked_at is None and (row.expires_at is None or row.expires_at > time.time())
    return (
        {name: getattr(row, name) for name in names}
        | {name: iso(getattr(row, name)) for name in times}
        | {"pixels_today": pixels_today, "active": active}
    )
