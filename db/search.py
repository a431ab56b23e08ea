"""Searching prompts by words: a bounded look at a time, newest jobs first. Why there is no index: decision 7."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select

from core.errors import InvalidInput
from core.lifecycle import JobStatus
from db.database import Database
from db.jobs.read import list_jobs
from db.tables import Job

LOOKED_AT = 50_000
"""Jobs that one call looks through at most: tens of milliseconds, whatever is looked for."""
MAX_WORDS = 20
_WORDS = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True)
class Found:
    """`rest` is where the search goes on when the jobs looked at did not fill a page; None: all have been seen."""

    jobs: list[Job]
    rest: str | None


def words_of(text: str) -> list[str]:
    """Words, and "phrases in quotes" whole; a quote without its partner is an ordinary character."""
    words = [(phrase or word) for phrase, word in _WORDS.findall(text)]
    if len(words) > MAX_WORDS:
        raise InvalidInput(f"A search takes {MAX_WORDS} words at most, this has {len(words)}.", field="q")
    return words


def search_jobs(
    database: Database,
    text: str,
    *,
    owner: str | None = None,
    statuses: Sequence[JobStatus] = (),
    model: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Found:
    """As `list_jobs`, of the next LOOKED_AT jobs those whose prompt has every word, in any order; without words, all."""
    conditions = [_has(word) for word in words_of(text)]
    last = _last_to_look_at(database, owner, before) if conditions else None
    if last is not None:
        conditions.append(Job.id >= last)
    jobs = list_jobs(
        database, owner=owner, statuses=statuses, model=model, conditions=conditions, before=before, limit=limit
    )
    return Found(jobs, last if len(jobs) < limit else None)


def _has(word: str) -> ColumnElement[bool]:
    """Neither database need know the case of letters beyond ASCII, so their usual spellings are all looked for."""
    spellings = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
    return or_(*(Job.prompt.icontains(spelling, autoescape=True) for spelling in sorted(spellings)))


def _last_to_look_at(database: Database, owner: str | None, before: str | None) -> str | None:
    """The id of the LOOKED_AT-th job from here, when there are more behind it; read from an index alone."""
    query = select(Job.id).order_by(Job.id.desc()).offset(LOOKED_AT - 1).limit(2)
    query = query.where(Job.owner == owner) if owner is not None else query
    query = query.where(Job.id < before) if before is not None else query
    with database.read() as session:
        found = session.scalars(query).all()
    return found[0] if len(found) > 1 else None
