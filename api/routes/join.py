"""Let a machine join: install this version there, and hand the addresses out, for a token that is used once."""

from __future__ import annotations

import secrets
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.dependencies import FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.own_package import WHEEL_NAME, build_wheel, constraints
from api.public_address import absolute_link
from api.threads import in_thread
from core.errors import Unavailable
from core.exposure import is_loopback
from core.join import JoinAddresses, check_version
from core.schemas.nodes import JoinAnswer, JoinRequest
from core.storage import LocalImageStore
from core.storage.local import describe_os_error
from core.version import VERSION
from db.join_tokens import require_good, use_token

router = APIRouter(prefix="/v1/join", tags=["nodes"], route_class=LazyRoute)

_SCRIPT = Path(__file__).resolve().parents[1] / "join_install.sh"
_UNSTORED = {"Cache-Control": "no-store"}


async def _good_token(request: Request, farm: FarmDependency) -> None:
    """Check the token in the header, which stays good. Raises Forbidden `join_token_invalid`."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    await in_thread(require_good, farm.database, token.strip() if kind.lower() == "bearer" else "")


GoodToken = Depends(_good_token)


@router.get("/install", response_class=Response, summary="Script that installs and joins", responses=error_responses())
async def read_script(request: Request, farm: FarmDependency) -> Response:
    """Return a shell script that installs this version where it is missing and runs `imagefarm join`; it holds no secret.

    Its argument is the token of `imagefarm join-command`, which prints the whole command line.
    """
    values = {
        "@VERSION@": VERSION,
        "@EXTRAS@": "worker,s3" if JoinAddresses.of(farm.settings).storage_url.startswith("s3:") else "worker",
        "@FARM@": shlex.quote(_own_address(request, farm.settings.join_url)),
    }
    text = await in_thread(_SCRIPT.read_text, encoding="utf-8")
    for name, value in values.items():
        text = text.replace(name, value)
    return Response(text, media_type="text/x-shellscript", headers=_UNSTORED)


def _own_address(request: Request, join_url: str) -> str:
    """Return the address that was asked: the scheme of `join_url` where that is it, since a proxy may have ended TLS."""
    asked = request.headers.get("host", "").lower()
    return join_url.rstrip("/") if asked == urlsplit(join_url).netloc.lower() != "" else absolute_link("", request)


@router.get(
    "/package",
    response_class=Response,
    summary="Wheel of this version",
    responses=error_responses(403),
    dependencies=[GoodToken],
)
async def read_package() -> Response:
    """Return the wheel that the script installs, for `Authorization: Bearer` with the token, which is not used up."""
    named = {"Content-Disposition": f'attachment; filename="{WHEEL_NAME}"'}
    return Response(await in_thread(build_wheel), media_type="application/zip", headers=_UNSTORED | named)


@router.get(
    "/constraints",
    response_class=Response,
    summary="Versions of its requirements",
    responses=error_responses(403),
    dependencies=[GoodToken],
)
async def read_constraints() -> Response:
    """Return a constraints file for pip, for the same header."""
    return Response(await in_thread(constraints), media_type="text/plain", headers=_UNSTORED)


@router.post("", response_model=JoinAnswer, summary="Join the farm", responses=error_responses(400, 403, 409, 413, 415))
async def join(request: Request, farm: FarmDependency, wanted: JoinRequest) -> Response:
    """Return how to reach Redis, database and storage; the token, not a key, authorises the call and is used up by it."""
    is_remote = request.client is None or not is_loopback(request.client.host)
    answer = await in_thread(_join, farm, wanted, is_remote)
    return json_response(answer, headers=_UNSTORED)


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
