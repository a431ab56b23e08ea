"""Keys are made from ids only, and all other texts are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import new_id
from core.storage.local import MalformedKey, check_key, image_key

JOB = "019a9b7c-0000-7abc-8def-0123456789ab"


def test_a_key_has_day_job_attempt_and_index() -> None:
    assert image_key(JOB, 2, 3) == f"2025-11-19/ab/{JOB}.2.3.png"


def test_keys_can_be_made_from_new_ids() -> None:
    assert check_key(image_key(new_id(), 1, 0, "webp")).endswith(".1.0.webp")


@pytest.mark.parametrize(
    ("job_id", "attempt", "extension"),
    [
        ("../../etc/passwd", 1, "png"),
        (JOB.upper(), 1, "png"),
        (JOB + "\n", 1, "png"),
        ("ffffffff-ffff-7fff-bfff-ffffffffffff", 1, "png"),
        (JOB, -1, "png"),
        (JOB, 1, "exe"),
        (JOB, 1, "png/../x"),
    ],
)
def test_malformed_parts_are_refused(job_id: str, attempt: int, extension: str) -> None:
    with pytest.raises(MalformedKey):
        image_key(job_id, attempt, 0, extension)


@given(st.one_of(st.text(), st.from_regex(r"(\.\./|/)?[a-z0-9./-]+\.png", fullmatch=True)))
def test_malformed_keys_are_refused(text: str) -> None:
    with pytest.raises(MalformedKey):
        check_key(text)
