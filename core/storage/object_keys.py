"""Keys of stored images, made from job id, attempt and image index, never from user input.

A key is `2026-11-23/9c/<job>.<attempt>.<index>.png`: the UTC day in the job's id, and the last two hex digits of the id.
A folder holds one 256th of a day, and a day can be copied or deleted as one folder.
"""

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
    """A malformed key, or part of one: a programming error, never a user's."""


def image_key(job_id: str, attempt: int, index: int, extension: str = "png") -> str:
    """Return the key of image `index` (from 0) of a job's attempt (from 1). Raises MalformedKey."""
    if _JOB_PATTERN.fullmatch(job_id) is None:
        raise MalformedKey(f"not a job id: {job_id!r}")
    return check_key(f"{_day(job_id)}/{job_id[-2:]}/{job_id}.{attempt:d}.{index:d}.{extension}")


def job_and_attempt(key: str) -> tuple[str, int]:
    """Return the job id and the attempt that wrote the file of this key. Raises MalformedKey."""
    job_id, attempt, *_ = check_key(key).rsplit("/", 1)[1].split(".")
    return job_id, int(attempt)


def check_key(key: str) -> str:
    """Return the key unchanged. Raises MalformedKey unless it has exactly the form of a key."""
    if _KEY_PATTERN.fullmatch(key) is None:
        raise MalformedKey(f"not a storage key: {key!r}")
    return key


def _day(job_id: str) -> str:
    """Return the UTC day of a UUIDv7, whose first 48 bits are milliseconds since 1970."""
    milliseconds = UUID(job_id).int >> 80
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError) as error:
        raise MalformedKey(f"not a job id: {job_id!r} has a date that is out of range") from error
