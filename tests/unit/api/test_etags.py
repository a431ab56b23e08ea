"""If-None-Match compares weakly."""

from __future__ import annotations

import pytest

from api.dependencies import none_match


@pytest.mark.parametrize(
    ("header", "tag", "expected"),
    [
        (None, '"a"', False),
        ("", '"a"', False),
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('W/"a"', 'W/"a"', True),
        ('"b", W/"a"', '"a"', True),
        ('"b","a"', '"a"', True),
        ("*", '"a"', True),
        ('"b"', '"a"', False),
        ("a", '"a"', False),
        ('"a,b"', '"a"', False),
        ('"a,b"', '"a,b"', True),
    ],
)
def test_tags_match_weakly(header: str | None, tag: str, expected: bool) -> None:
    assert none_match(header, tag) is expected
