"""Convert HTTP responses to the errors that the farm raised, with the same codes."""

from __future__ import annotations

import httpx
from pydantic import ValidationError

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
from core.schemas.base import Problem

DEFAULT_RETRY_SECONDS = 1.0
_CLASSES: dict[int, type[FarmError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
}


class WaitTimeout(FarmError):
    """The job or batch did not end within the time to wait; it continues on the farm."""

    code = "wait_timeout"


def error_of(response: httpx.Response) -> FarmError:
    """Return the error of a response with status 4xx or 5xx."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        problem = _foreign_problem(response)
    return _from_problem(problem, retry_after(response) or problem.retry_after_seconds)


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header; None without one, or for a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def unreachable(url: str, error: httpx.TransportError) -> Unavailable:
    """Return the error for an address where nothing answers."""
    what = "took too long to answer" if isinstance(error, httpx.TimeoutException) else f"does not answer ({error})"
    return Unavailable(
        f"The farm at {url} {what}. Start one with `imagefarm up`, or set its address with --url or IMAGEFARM_URL.",
        code="farm_unreachable",
    )


def not_a_farm(url: str, why: str) -> FarmError:
    """Return the error for an address where another program, or another version, answers."""
    return FarmError(
        f"The server at {url} is not a farm of this version of imagefarm ({why}). Check the address: "
        "--url or IMAGEFARM_URL.",
        code="not_a_farm",
    )


def _from_problem(problem: Problem, retry_seconds: float | None) -> FarmError:
    message, code, status = problem.detail, problem.code, problem.status
    if code == InvalidParameters.code and problem.errors:
        return InvalidParameters([(item.field, item.message) for item in problem.errors])
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return TooManyRequests(message, retry_after=retry_seconds or DEFAULT_RETRY_SECONDS, code=code)
    if status in (502, 503, 504):
        return Unavailable(message, retry_after=retry_seconds or DEFAULT_RETRY_SECONDS, code=code)
    if status in _CLASSES:
        return _CLASSES[status](message, code=code)
    if 400 <= status < 500:
        return InvalidInput(message, field=problem.errors[0].field if problem.errors else None, code=code)
    return FarmError(message, code=code)


def _foreign_problem(response: httpx.Response) -> Problem:
    """Return a problem for a response that no farm sent: a proxy's page, or another service."""
    status = response.status_code
    code = "unavailable" if status in (502, 503, 504) else "not_a_farm"
    detail = (
        f"{response.request.url} answered {status} {response.reason_phrase}, which is not a farm's response. "
        "Check the address (--url or IMAGEFARM_URL) and any proxy between this machine and the farm."
    )
    return Problem(type="about:blank", title=response.reason_phrase, status=status, detail=detail, code=code)
