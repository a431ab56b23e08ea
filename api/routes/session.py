"""Session of the web page: the browser exchanges the key for a token in a cookie that scripts cannot read."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.api_keys import caller_of
from api.caller import Caller
from api.dependencies import FarmDependency, json_response
from api.farm import Farm
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.sessions import delete_cookie, delete_former_cookie, set_cookie, token_of
from api.threads import in_thread
from core.errors import Unauthorized
from core.schemas.farm import Session, SessionRequest
from core.sessions import SESSION_SECONDS, generate_token, hash_token
from db.sessions import end_session, start_session

router = APIRouter(prefix="/v1/session", tags=["session"], route_class=LazyRoute)


@router.get("", response_model=Session, summary="Your identity", responses=error_responses())
async def read_session(request: Request, farm: FarmDependency) -> Response:
    """Return whether keys are required and whether yours is valid; a caller without a key is answered too."""
    needed = await farm.authenticator.in_force()
    try:
        caller = await farm.authenticator.caller(request, request.headers.get("x-client-label"))
    except Unauthorized:
        response = json_response(Session(keys_needed=True, signed_in=False, owner=None, scopes=[]))
    else:
        response = json_response(session_view(caller, needed=needed))
    delete_former_cookie(request, response)
    return response


@router.post("", response_model=Session, summary="Sign in on the page", responses=error_responses(400, 408, 413, 415))
async def create_session(request: Request, farm: FarmDependency, wanted: SessionRequest) -> Response:
    """Set the session's cookie; the page's own requests then need no header. Revoking the key ends the session."""
    row = await farm.authenticator.key_row(wanted.key)
    if row is None:
        raise Unauthorized("The key is not valid. `imagefarm keys create` creates one.")
    await _end(farm, token_of(request))
    token = generate_token()
    await in_thread(start_session, farm.database, hash_token(token), row.id, SESSION_SECONDS)
    response = json_response(session_view(caller_of(row, None), needed=True))
    set_cookie(request, response, token)
    delete_former_cookie(request, response)
    return response


@router.delete("", status_code=204, summary="Sign out", responses=error_responses())
async def delete_session(request: Request, farm: FarmDependency) -> Response:
    """End the session for good and remove its cookie; the key itself stays valid."""
    await _end(farm, token_of(request))
    response = Response(status_code=204)
    delete_cookie(request, response)
    delete_former_cookie(request, response)
    return response


async def _end(farm: Farm, token: str | None) -> None:
    if token is not None:
        session_id = hash_token(token)
        await in_thread(end_session, farm.database, session_id)
        farm.authenticator.forget_session(session_id)


def session_view(caller: Caller, *, needed: bool) -> Session:
    """Return what the page shows of its caller."""
    return Session(keys_needed=needed, signed_in=True, owner=caller.owner, scopes=sorted(caller.scopes))
