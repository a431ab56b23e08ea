"""Object keys of stored images, made from job id, attempt and image index, never from user input."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

EXTENSIONS = ("png", "jpg", "webp")

_JOB = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_JOB_PATTERN = re.compile(_JOB)
_KEY_PATTERN = re.compile(
    rf"\d{{4}}-\d{{2}}-\d{{2}}/[0-9a-f]{{2}}/{_JOB}\.\d{{1,6}}\.\d{{1,6}}\.(?:{'|'.join(EXTENSIONS)})", re.ASCII
)


class MalformedKey(ValueError):
    """A key, or a part of one, that this module did not make: a programming error, never a user's."""


def image_key(job_id: str, attempt: int, index: int, extension: str = "png") -> str:
    """The key of image `index` (from 0) of a job's attempt (from 1). Raises MalformedKey."""
    if _JOB_PATTERN.fullmatch(job_id) is None:
        raise MalformedKey(f"not a job id: {job_id!r}")
    return check_key(f"{_day(job_id)}/{job_id[-2:]}/{job_id}.{attempt:d}.{index:d}.{extension}")


def job_and_attempt(key: str) -> tuple[str, int]:
    """Which job's which attempt wrote the file of this key. Raises MalformedKey."""
    job_id, attempt, *_ = check_key(key).rsplit("/", 1)[1].split(".")
    return job_id, int(attempt)


def check_key(key: str) -> str:
    """The key itself, when it has exactly the shape of one; else MalformedKey."""
    if _KEY_PATTERN.fullmatch(key) is None:
        raise MalformedKey(f"not a storage key: {key!r}")
    return key


def _day(job_id: str) -> str:
    """The UTC day in a UUIDv7: its first 48 bits are milliseconds since 1970."""
    milliseconds = UUID(job_id).int >> 80
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError) as error:
        raise MalformedKey(f"not a job id: {job_id!r} is dated beyond the calendar") from error
