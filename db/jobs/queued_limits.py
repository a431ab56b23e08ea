"""The limit of an owner's queued jobs, counted so that no two transactions use the same room."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import BindParameter, Connection, Integer, ScalarSelect, String, bindparam, func, select
from sqlalchemy.orm import Session

from core.errors import TooManyRequests
from db.prepared import Prepared, Transaction
from db.sql import QUEUED, lock_name
from db.tables import Job

if TYPE_CHECKING:
    from db.jobs.submit import NewJob

_LOCKED = "owners whose queued jobs are locked"


def lock_limits(session: Transaction, new: Sequence[NewJob]) -> None:
    """Let no other transaction count these jobs' owners' queued jobs before this one ends: two could both find room.

    Call it before the transaction locks anything else, so that no two transactions wait for each other.
    """
    for owner in sorted({job.owner for job in new if job.max_queued > 0}):
        lock_limit(session, owner)


def lock_limit(session: Transaction, owner: str) -> None:
    """Let no other transaction count the owner's queued jobs before this one ends."""
    if isinstance(session, Connection):  # whose `info` outlives the transaction; to lock twice does no harm
        lock_name(session, f"queued:{owner}")
        return
    locked: set[str] = session.info.setdefault(_LOCKED, set())
    if owner not in locked:
        lock_name(session, f"queued:{owner}")
        locked.add(owner)


def check_limit(session: Session, owner: str, max_queued: int) -> None:
    """Raise TooManyRequests when the owner has `max_queued` queued jobs or more; 0 means no limit."""
    if max_queued > 0 and count_queued(session, owner, max_queued) >= max_queued:
        raise too_many(max_queued)


def count_queued(session: Transaction, owner: str, most: int) -> int:
    """Return how many queued jobs the owner has, `most` for more, and lock that number as `lock_limits` does."""
    lock_limit(session, owner)
    (counted,) = _queued_of().rows(session, {"of_owner": owner, "at_most": most})
    return int(counted["queued"])


@cache
def _queued_of() -> Prepared:
    return Prepared(select(queued_of(bindparam("of_owner", type_=String())).label("queued")))


def queued_of(owner: BindParameter[str]) -> ScalarSelect[int]:
    """Return how many queued jobs an owner has, at most the parameter `at_most`."""
    mine = select(Job.id).where(Job.owner == owner, QUEUED)
    counted = mine.limit(bindparam("at_most", type_=Integer())).subquery()
    return select(func.count()).select_from(counted).scalar_subquery()


def too_many(max_queued: int) -> TooManyRequests:
    """Return the error of a submit at the limit."""
    return TooManyRequests(
        f"You have {max_queued} queued jobs, the limit. Wait until some have run, or cancel some.", retry_after=10.0
    )
