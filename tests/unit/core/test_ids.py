"""Ids sort by creation and are valid UUIDs of version 7."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from core.ids import is_id, new_id


def test_later_ids_sort_later_even_within_a_millisecond() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_ids_are_unique_across_threads_and_sorted_within_each() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(1000)], range(4)))
    assert all(ids == sorted(ids) for ids in made)
    assert len({each for ids in made for each in ids}) == 4000


def test_ids_are_version_7_and_contain_the_time() -> None:
    made = uuid.UUID(new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert abs((made.int >> 80) / 1000 - time.time()) < 120
    assert is_id(str(made))
