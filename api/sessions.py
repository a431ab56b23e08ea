"""Cookie of the web page's session: a random token in place of the key, so that no other program sees the key.

Browsers send a host's cookies to every port of it, also to other programs' servers.
"""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from api.public_address import scheme_of
from core.sessions import SESSION_SECONDS, is_token

_NAME = "imagefarm_session"
_FORMER_NAME = "imagefarm_key"
"""The cookie of earlier versions, which contained the key itself."""


def token_of(request: Request) -> str | None:
    """Return the token of the request's session cookie; None without one."""
    token = request.cookies.get(_name(request))
    return token if token is not None and is_token(token) else None


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Let the browser keep the token, out of reach of scripts and of other sites' requests."""
    response.set_cookie(
        _name(request), token, max_age=int(SESSION_SECONDS), httponly=True, samesite="strict", secure=_is_secure(request)
    )


def delete_cookie(request: Request, response: Response) -> None:
    """Let the browser delete the token."""
    response.delete_cookie(_name(request), httponly=True, samesite="strict", secure=_is_secure(request))


def delete_former_cookie(request: Request, response: Response) -> None:
    """Let a browser that still has an earlier version's cookie delete it, with the key in it."""
    if _FORMER_NAME in request.cookies:
        response.delete_cookie(_FORMER_NAME, httponly=True, samesite="strict")


def _name(request: Request) -> str:
    """Return the cookie's name; with the prefix, browsers accept it over https only, from this host, for all paths."""
    return f"__Host-{_NAME}" if _is_secure(request) else _NAME


def _is_secure(request: Request) -> bool:
    return scheme_of(request) == "https"
