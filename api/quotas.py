"""Limits of API keys, reserved before a job is accepted or queued again.

Every route that lets a user queue a job holds a reservation (`reserved`) while it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from api.caller import Caller
from api.threads import in_thread
from core.errors import TooManyRequests
from db.database import Database
from db.quotas import bucket, refund, reserve

_MINUTE, _DAY = 60, 86_400


class Reservation:
    """Amounts reserved from a key's limits."""

    def __init__(self, database: Database, key_id: str) -> None:
        self._database, self._key_id = database, key_id
        self._taken: list[tuple[str, int]] = []

    async def take(self, name: str, amount: int, limit: int, span: int) -> None:
        """Reserve an amount; raise TooManyRequests when that would exceed the limit."""
        counter, seconds = bucket(name, span)
        if not await in_thread(reserve, self._database, self._key_id, counter, amount, limit):
            unit = "submits a minute" if name == "submits" else "pixels a day (UTC)"
            raise TooManyRequests(
                f"This key may use {limit} {unit}; this request would exceed it.", retry_after=seconds, code=f"{name}_limit"
            )
        self._taken.append((counter, amount))

    async def give_back(self) -> None:
        """Refund all amounts, because no new job was accepted."""
        while self._taken:
            await in_thread(refund, self._database, self._key_id, *self._taken.pop())


@asynccontextmanager
async def reserved(database: Database, caller: Caller, jobs: int, pixels: int) -> AsyncIterator[Reservation]:
    """Reserve `jobs` and `pixels` from the key's limits; refund them when the block raises."""
    reservation = Reservation(database, caller.limits.key_id if caller.limits is not None else "")
    try:
        for wanted in _amounts(caller, jobs, pixels):
            await reservation.take(*wanted)
        yield reservation
    except BaseException:
        await reservation.give_back()
        raise


def max_queued(caller: Caller, farm_limit: int, owner: str | None = None) -> int:
    """Return the lower of the farm's and the key's limit of queued jobs; 0 for no limit.

    The key's limit counts its owner's jobs. `owner`: whose job an administrator queues, if not the caller's own.
    """
    own = owner in (None, caller.owner)
    key_limit = caller.limits.max_queued if caller.limits is not None and own else None
    return min(farm_limit, key_limit) if farm_limit and key_limit else (key_limit or farm_limit)


def pixels_of(job_input: Mapping[str, Any]) -> int:
    """Return how many pixels a job renders."""
    return int(job_input["width"]) * int(job_input["height"]) * int(job_input.get("num_images", 1))


def _amounts(caller: Caller, jobs: int, pixels: int) -> list[tuple[str, int, int, int]]:
    limits = caller.limits
    if limits is None:
        return []
    found = []
    if limits.submits_per_minute is not None:
        found.append(("submits", jobs, limits.submits_per_minute, _MINUTE))
    if limits.pixels_per_day is not None:
        found.append(("pixels", pixels, limits.pixels_per_day, _DAY))
    return found
