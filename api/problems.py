"""From errors to HTTP: the one table of statuses, and problem details (RFC 9457) as answers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.openapi_errors import allowed_methods
from api.validation import field_errors
from core.errors import (
    Conflict,
    FarmError,
    Forbidden,
    Gone,
    InvalidInput,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from core.parameters import InvalidParameters
from core.schemas.base import FieldError, Problem

logger = logging.getLogger(__name__)

STATUSES: dict[type[FarmError], int] = {
    InvalidInput: 422,
    NotFound: 404,
    Gone: 410,
    Conflict: 409,
    Unauthorized: 401,
    Forbidden: 403,
    TooManyRequests: 429,
    Unavailable: 503,
}
"""Statuses by kind of error; a code listed in CODES has one of its own."""

CODES: dict[str, int] = {
    "body_too_large": 413,
    "body_too_slow": 408,
    "unsupported_media_type": 415,
    "not_acceptable": 406,
    "malformed_json": 400,
    "storage_unavailable": 503,
}

_OF_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}
MEDIA_TYPE = "application/problem+json"


def status_of(error: FarmError) -> int:
    """The HTTP status of an error; 500 for one that should never have left the house."""
    if error.code in CODES:
        return CODES[error.code]
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def problem_of(error: FarmError, request: Request | None = None) -> Problem:
    """The problem document of an error."""
    status = status_of(error)
    return Problem(
        type=f"urn:imagefarm:problem:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        errors=_errors_of(error),
        instance=request.url.path if request is not None else None,
        retry_after_seconds=retry_after(error),
    )


def retry_after(error: FarmError) -> float | None:
    """Seconds to wait before trying again, if the error says."""
    return error.retry_after if isinstance(error, TooManyRequests | Unavailable) else None


def headers_of(error: FarmError) -> dict[str, str]:
    """Headers that belong to the error, whatever shape its body takes."""
    headers = {"Cache-Control": "no-store"}
    if (seconds := retry_after(error)) is not None:
        headers["Retry-After"] = str(math.ceil(seconds))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="imagefarm"'
    return headers


def problem_response(error: FarmError, request: Request | None = None) -> Response:
    """The error as an HTTP answer."""
    problem = problem_of(error, request)
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, problem.status, headers=headers_of(error), media_type=MEDIA_TYPE)


def _errors_of(error: FarmError) -> list[FieldError]:
    if isinstance(error, InvalidParameters):
        return [FieldError(field=field, message=message) for field, message in error.problems]
    if isinstance(error, InvalidInput) and error.field is not None:
        return [FieldError(field=error.field, message=error.message)]
    return []


def from_validation(error: RequestValidationError, request: Request) -> InvalidInput:
    """What pydantic found, as one of our errors."""
    problems = field_errors(error, request)
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return InvalidInput(f"The body is not JSON: {problems[0][1]}.", code="malformed_json")
    return InvalidParameters(problems)


def from_http(error: HTTPException) -> FarmError:
    """Starlette's own refusals (no such path, wrong method, bad range), as one of our errors."""
    message = {
        404: "There is nothing at this address. GET /openapi.json lists what there is.",
        405: "This address does not take that method.",
    }.get(error.status_code, str(error.detail))
    code = _OF_STATUS.get(error.status_code, "bad_request")
    refused = FarmError(message, code=code)
    CODES.setdefault(code, error.status_code)
    return refused


Shape = Callable[[FarmError, Request], Response]


def install(app: FastAPI, shapes: Mapping[str, Shape]) -> None:
    """Answers every error as a problem document; under the paths of `shapes`, as that face's clients expect it."""
    app.state.error_shapes = dict(shapes)

    async def on_farm_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FarmError)  # noqa: S101 -- the type that it is registered for
        return shaped(error, request)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return shaped(from_validation(error, request), request)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        cause = error.__cause__  # FastAPI calls whatever happens while it reads a body a bad request
        response = shaped(cause if isinstance(cause, FarmError) else from_http(error), request)
        response.headers.update(error.headers or {})
        if error.status_code == 405 and (allowed := allowed_methods(app, request.url.path)):
            response.headers["Allow"] = allowed
        return response

    async def on_anything(request: Request, error: Exception) -> Response:
        logger.error("unexpected error at %s %s", request.method, request.url.path, exc_info=error)
        return shaped(FarmError("Something went wrong here; the server's log has the details."), request)

    app.add_exception_handler(FarmError, on_farm_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_anything)


def shaped(error: FarmError, request: Request) -> Response:
    """The error in the shape of the face that was called."""
    shapes: Mapping[str, Shape] = getattr(request.app.state, "error_shapes", {})
    shape = next((shapes[prefix] for prefix in shapes if request.url.path.startswith(prefix)), problem_response)
    return shape(error, request)
