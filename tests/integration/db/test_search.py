"""Search results and the limit of scanned jobs, on both databases."""

from __future__ import annotations

import pytest

from core.errors import InvalidInput
from db import search
from db.database import Database
from db.jobs.cancel import request_cancel
from db.search import search_jobs, words_of
from tests.integration.db.conftest import Submit

PROMPTS = [
    "a Red fox asleep in snow",
    "snow on a fox, red light",
    "red foxglove",
    "一只红色的狐狸在雪地里",
    "100% wool_scarf",
    "100 wool scarfs",
    "ÉTÉ à Paris",
    'a 5" nail',
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("fox snow", {0, 1}),
        ("SNOW fox", {0, 1}),
        ('"red fox"', {0, 2}),
        ('asleep "Red Fox"', {0}),
        ("狐狸", {3}),
        ("雪地 红色", {3}),
        ("100%", {4}),
        ("wool_scarf", {4}),
        ("wool scarf", {4, 5}),
        ("été", {6}),
        ('5"', {7}),
        ("xylophone", set()),
        ("   ", set(range(8))),
    ],
)
def test_a_search_finds_prompts_with_every_word(database: Database, submit_job: Submit, text: str, found: set[int]) -> None:
    ids = [submit_job(prompt=prompt).id for prompt in PROMPTS]
    answer = search_jobs(database, text)
    assert {ids.index(job.id) for job in answer.jobs} == found
    assert answer.next_before is None


def test_a_search_scans_a_limited_number_of_jobs_and_returns_a_cursor(
    database: Database, submit_job: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCANNED_JOBS", 4)
    ids = [submit_job(prompt="zeppelin" if number in (0, 5, 8) else "a cat").id for number in range(10)]
    submit_job(owner="ben", prompt="zeppelin")
    pages, cursor = [], None
    while True:
        found = search_jobs(database, "zeppelin", owner="ann", before=cursor)
        pages.append([ids.index(job.id) for job in found.jobs])
        if (cursor := found.next_before) is None:
            break
    assert pages == [[8], [5], [0]]


def test_a_full_page_ends_before_the_scan_limit(
    database: Database, submit_job: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCANNED_JOBS", 4)
    ids = [submit_job(prompt="cat").id for _ in range(6)]
    found = search_jobs(database, "cat", limit=3)
    assert [job.id for job in found.jobs] == ids[:2:-1]
    assert found.next_before is None


def test_other_filters_apply_too(database: Database, submit_job: Submit) -> None:
    jobs = [submit_job(prompt="a cat") for _ in range(3)]
    request_cancel(database, jobs[1].id)
    assert [job.id for job in search_jobs(database, "cat", statuses=["canceled"]).jobs] == [jobs[1].id]  # type: ignore[list-item]
    assert search_jobs(database, "cat", model="z-image").jobs == []


def test_too_many_words_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 20 words, this has 21"):
        words_of("a " * 21)
