"""Search jobs by words of their prompts, model or kind, newest first. Each call scans a bounded number of jobs.

Why there is no index: docs/decisions/0008-bounded-prompt-search-without-index.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select

from core.errors import InvalidInput
from core.lifecycle import JobKind, JobStatus
from db.database import Database
from db.jobs.read import list_jobs
from db.tables import Job

SCANNED_JOBS = 5_000
"""Maximum of jobs that one call scans; takes tens of milliseconds for any words."""
MAX_WORDS = 20
_WORDS = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True)
class SearchPage:
    """Jobs found. `next_before`: the argument to continue with when the scanned jobs did not fill a page, or None."""

    jobs: list[Job]
    next_before: str | None


def words_of(text: str) -> list[str]:
    """Split into words and "phrases in quotes"; an unpaired quote is an ordinary character. Raises InvalidInput."""
    words = [(phrase or word) for phrase, word in _WORDS.findall(text)]
    if len(words) > MAX_WORDS:
        raise InvalidInput(f"A search takes at most {MAX_WORDS} words, this has {len(words)}.", field="q")
    return words


def search_jobs(
    database: Database,
    text: str,
    *,
    owner: str | None = None,
    statuses: Sequence[JobStatus] = (),
    model: str | None = None,
    kind: JobKind | None = None,
    before: str | None = None,
    limit: int = 50,
) -> SearchPage:
    """List jobs like `list_jobs`, but only those of the next SCANNED_JOBS whose prompt has every word, in any order.

    Without words, all jobs match; `model` and `kind` are searched in the same way, as no index serves them.
    """
    conditions = conditions_of(text)
    is_search = bool(conditions) or model is not None or kind is not None
    last = _last_to_scan(database, owner, before) if is_search else None
    if last is not None:
        conditions.append(Job.id >= last)
    jobs = list_jobs(
        database,
        owner=owner,
        statuses=statuses,
        model=model,
        kind=kind,
        conditions=conditions,
        before=before,
        limit=limit,
    )
    return SearchPage(jobs, last if len(jobs) < limit else None)


def conditions_of(text: str) -> list[ColumnElement[bool]]:
    """Return the conditions that a job's prompt has every word. Raises InvalidInput like `words_of`."""
    return [_has(word) for word in words_of(text)]


def _has(word: str) -> ColumnElement[bool]:
    """Match the word in any case. Beyond ASCII, the databases may not fold case, so the usual spellings are matched."""
    spellings = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
    return or_(*(Job.prompt.icontains(spelling, autoescape=True) for spelling in sorted(spellings)))


def _last_to_scan(database: Database, owner: str | None, before: str | None) -> str | None:
    """Return the id of the last job to scan; None when fewer jobs are left. Reads only an index."""
    query = select(Job.id).order_by(Job.id.desc()).offset(SCANNED_JOBS - 1).limit(2)
    query = query.where(Job.owner == owner) if owner is not None else query
    query = query.where(Job.id < before) if before is not None else query
    with database.read() as session:
        found = session.scalars(query).all()
    return found[0] if len(found) > 1 else None
