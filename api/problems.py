"""Map errors to HTTP: the one table of statuses, and problem details (RFC 9457) as responses."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType

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

STATUSES: Mapping[type[FarmError], int] = MappingProxyType(
    {
        InvalidInput: 422,
        NotFound: 404,
        Gone: 410,
        Conflict: 409,
        Unauthorized: 401,
        Forbidden: 403,
        TooManyRequests: 429,
        Unavailable: 503,
    }
)
"""Status by error class; a code listed in CODES takes precedence."""

CODES: Mapping[str, int] = MappingProxyType(
    {
        "bad_request": 400,
        "body_too_large": 413,
        "upload_quota_exceeded": 413,
        "body_too_slow": 408,
        "unsupported_media_type": 415,
        "not_acceptable": 406,
        "malformed_json": 400,
        "storage_unavailable": 503,
    }
)

_CODE_OF_STATUS: Mapping[int, str] = MappingProxyType(
    {
        404: "not_found",
        405: "method_not_allowed",
        406: "not_acceptable",
        413: "body_too_large",
        415: "unsupported_media_type",
        416: "range_not_satisfiable",
    }
)
MEDIA_TYPE = "application/problem+json"


class HttpError(FarmError):
    """A refusal by Starlette or FastAPI itself, with the status that it was raised with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, code=_CODE_OF_STATUS.get(status, "bad_request" if status < 500 else FarmError.code))
        self.status = status


def status_of(error: FarmError) -> int:
    """Return the HTTP status of an error; 500 for one that callers should have handled."""
    if isinstance(error, HttpError):
        return error.status
    if error.code in CODES:
        return CODES[error.code]
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def problem_of(error: FarmError, request: Request | None = None) -> Problem:
    """Build the problem document of an error."""
    status = status_of(error)
    return Problem(
        type=f"urn:imagefarm:problem:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        errors=_errors_of(error),
        instance=path_of(request) if request is not None else None,
        retry_after_seconds=retry_after(error),
    )


def path_of(request: Request) -> str:
    """Return the path of a request; `request.url` would parse the Host header, which may be malformed."""
    path: str = request.scope["path"]
    return path


def retry_after(error: FarmError) -> float | None:
    """Return the seconds to wait before a retry; None when the error does not state any."""
    return error.retry_after if isinstance(error, TooManyRequests | Unavailable) else None


def headers_of(error: FarmError) -> dict[str, str]:
    """Return the headers of an error response, whatever shape its body has."""
    headers = {"Cache-Control": "no-store"}
    if (seconds := retry_after(error)) is not None:
        headers["Retry-After"] = str(math.ceil(seconds))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="imagefarm"'
    return headers


def problem_response(error: FarmError, request: Request | None = None) -> Response:
    """Return the error as a problem document."""
    problem = problem_of(error, request)
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, problem.status, headers=headers_of(error), media_type=MEDIA_TYPE)


def _errors_of(error: FarmError) -> list[FieldError]:
    if isinstance(error, InvalidParameters):
        return [FieldError(field=field, message=message) for field, message in error.problems]
    if isinstance(error, InvalidInput) and error.field is not None:
        return [FieldError(field=error.field, message=error.message)]
    return []


def from_validation(error: RequestValidationError, request: Request) -> FarmError:
    """Convert pydantic's findings to InvalidInput, or to `unsupported_media_type` when the body was not sent as JSON."""
    if isinstance(error.body, bytes):  # FastAPI leaves a body of any other type than JSON unread.
        return _not_sent_as_json(request)
    problems = field_errors(error, request)
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return InvalidInput(f"The body is not JSON: {problems[0][1]}.", code="malformed_json")
    return InvalidParameters(problems)


def _not_sent_as_json(request: Request) -> FarmError:
    sent = request.headers.get("content-type", "")
    found = f"it was sent as '{sent[:100]}'" if sent else "it was sent without a Content-Type"
    return FarmError(
        f"Send the body as JSON with the header `Content-Type: application/json`: {found}. "
        "With curl, add `-H 'Content-Type: application/json'`.",
        code="unsupported_media_type",
    )


def _of_body(cause: BaseException | None) -> FarmError | None:
    """Return what kept a body from being read; FastAPI wraps any such error in a 400 without its reason."""
    match cause:
        case FarmError():
            return cause
        case RecursionError():
            return InvalidInput("The body is nested too deeply: send the fields of a request.", code="malformed_json")
        case UnicodeDecodeError():
            return InvalidInput("The body is not text in UTF-8: encode it as such.", code="malformed_json")
        case _:
            return None


def from_http(error: HTTPException) -> HttpError:
    """Convert Starlette's own refusals (unknown path, wrong method, bad range), keeping their status."""
    message = {
        404: "There is nothing at this address. GET /openapi.json lists the addresses.",
        405: "This address does not take that method.",
    }.get(error.status_code, str(error.detail))
    return HttpError(message, error.status_code)


Shape = Callable[[FarmError, Request], Response]


def install(app: FastAPI, shapes: Mapping[str, Shape]) -> None:
    """Answer every error with a problem document, or under the path prefixes of `shapes` in that face's shape."""
    app.state.error_shapes = dict(shapes)

    async def on_farm_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FarmError)  # noqa: S101 -- the type that it is registered for
        return shaped(error, request)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return shaped(from_validation(error, request), request)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        response = shaped(_of_body(error.__cause__) or from_http(error), request)
        response.headers.update(error.headers or {})
        if error.status_code == 405 and (allowed := allowed_methods(app, path_of(request))):
            response.headers["Allow"] = allowed
        return response

    async def on_unexpected(request: Request, error: Exception) -> Response:
        logger.error("unexpected error at %s %s", request.method, path_of(request), exc_info=error)
        return shaped(FarmError("An unexpected error occurred; the server's log has the details."), request)

    app.add_exception_handler(FarmError, on_farm_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_unexpected)


def shaped(error: FarmError, request: Request) -> Response:
    """Return the error in the shape of the face whose path was requested."""
    shapes: Mapping[str, Shape] = getattr(request.app.state, "error_shapes", {})
    shape = next((shapes[prefix] for prefix in shapes if path_of(request).startswith(prefix)), problem_response)
    return shape(error, request)
