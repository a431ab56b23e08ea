"""Session of the web page: the browser keeps the key in a cookie that scripts cannot read."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.api_keys import COOKIE, key_of
from api.caller import Caller
from api.dependencies import FarmDependency, json_response
from api.openapi_errors import error_responses
from api.public_address import scheme_of
from core.errors import Unauthorized
from core.schemas.farm import Session, SessionRequest

router = APIRouter(prefix="/v1/session", tags=["session"])
_SECONDS = 30 * 86_400


@router.get("", response_model=Session, summary="Your identity", responses=error_responses())
async def read_session(request: Request, farm: FarmDependency) -> Response:
    """Return whether keys are required and whether yours is valid; this call is never refused."""
    needed = await farm.authenticator.in_force()
    try:
        caller = await farm.authenticator.caller(key_of(request), request.headers.get("x-client-label"))
    except Unauthorized:
        return json_response(Session(keys_needed=needed, signed_in=False, owner=None, scopes=[]))
    return json_response(_session(caller, needed=needed))


@router.post("", response_model=Session, summary="Sign in on the page", responses=error_responses(400, 408, 413))
async def create_session(request: Request, farm: FarmDependency, wanted: SessionRequest) -> Response:
    """Set the cookie; the page's own requests then need no header."""
    caller = await farm.authenticator.caller(wanted.key, None)
    response = json_response(_session(caller, needed=await farm.authenticator.in_force()))
    secure = scheme_of(request) == "https"
    response.set_cookie(COOKIE, wanted.key, max_age=_SECONDS, httponly=True, samesite="strict", secure=secure)
    return response


@router.delete("", status_code=204, summary="Sign out", responses=error_responses())
async def delete_session() -> Response:
    """Remove the cookie; the key itself stays valid."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _session(caller: Caller, *, needed: bool) -> Session:
    return Session(keys_needed=needed, signed_in=True, owner=caller.owner, scopes=sorted(caller.scopes))
