"""Convert HTTP responses back to the farm's own errors, with the same codes."""

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
_KINDS: dict[int, type[FarmError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
}


class WaitTimeout(FarmError):
    """The time to wait was over before the job was; the job goes on."""

    code = "wait_timeout"


def error_of(response: httpx.Response) -> FarmError:
    """The error that an answer of 4xx or 5xx stands for."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        problem = _foreign_problem(response)
    return _from_problem(problem, retry_after(response) or problem.retry_after_seconds)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After header; None without one that we can read."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def unreachable(url: str, error: httpx.TransportError) -> Unavailable:
    """Nothing answered at that address."""
    what = "took too long to answer" if isinstance(error, httpx.TimeoutException) else f"does not answer ({error})"
    return Unavailable(
        f"The farm at {url} {what}. Start one with `imagefarm up`, or say where yours is with --url or IMAGEFARM_URL.",
        code="farm_unreachable",
    )


def not_a_farm(url: str, why: str) -> FarmError:
    """Something answers there, but not as a farm does."""
    return FarmError(
        f"What answers at {url} does not speak as this version of imagefarm does ({why}). Check the address: "
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
    if status in _KINDS:
        return _KINDS[status](message, code=code)
    if 400 <= status < 500:
        return InvalidInput(message, field=problem.errors[0].field if problem.errors else None, code=code)
    return FarmError(message, code=code)


def _foreign_problem(response: httpx.Response) -> Problem:
    """An answer that no farm gave: a proxy's page, or another service."""
    status = response.status_code
    code = "unavailable" if status in (502, 503, 504) else "not_a_farm"
    detail = (
        f"{response.request.url} answered {status} {response.reason_phrase}, and not as a farm does. "
        "Check the address (--url or IMAGEFARM_URL), and what stands between you and the farm."
    )
    return Problem(type="about:blank", title=response.reason_phrase, status=status, detail=detail, code=code)
