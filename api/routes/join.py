"""Let a machine join: hand the addresses out for a token that is used once."""

from __future__ import annotations

import secrets

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import FarmDependency, json_response
from api.farm import Farm
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.errors import Unavailable
from core.exposure import is_loopback
from core.join import JoinAddresses, check_version
from core.schemas.nodes import JoinAnswer, JoinRequest
from core.storage import LocalImageStore
from core.storage.local import describe_os_error
from core.version import VERSION
from db.join_tokens import require_good, use_token

router = APIRouter(prefix="/v1/join", tags=["nodes"])


@router.post("", response_model=JoinAnswer, summary="Join the farm", responses=error_responses(400, 403, 409, 413, 415))
async def join(request: Request, farm: FarmDependency, wanted: JoinRequest) -> Response:
    """Return how to reach Redis, database and storage; the token, not a key, authorises the call and is used up by it."""
    is_remote = request.client is None or not is_loopback(request.client.host)
    answer = await in_thread(_join, farm, wanted, is_remote)
    return json_response(answer, headers={"Cache-Control": "no-store"})


def _join(farm: Farm, wanted: JoinRequest, is_remote: bool) -> JoinAnswer:
    require_good(farm.database, wanted.token)
    addresses = JoinAddresses.of(farm.settings)
    addresses.check(is_remote=is_remote)
    check_version(VERSION, wanted.version)
    marker = _mark(farm)
    use_token(farm.database, wanted.token, wanted.node)
    return JoinAnswer(version=VERSION, redis_prefix=farm.settings.redis_prefix, storage_marker=marker, **vars(addresses))


def _mark(farm: Farm) -> str | None:
    """Write a file into a local store that the machine looks for; the sweep of half-written files deletes it."""
    if not isinstance(farm.store, LocalImageStore):
        return None
    name = f".partial-join-{secrets.token_hex(8)}"
    try:
        farm.store.root.mkdir(parents=True, exist_ok=True)
        (farm.store.root / name).write_bytes(b"")
    except OSError as error:
        raise Unavailable(
            f"The folder of images does not take files: {describe_os_error(error)}.", code="storage_unavailable"
        ) from error
    return name
