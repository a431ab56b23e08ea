"""JSON in a fifth of the time is the JSON that the standard library reads and writes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.json_text import dump_json, parse_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_written_means_the_same(value: Any) -> None:  # noqa: ANN401 -- any plain value
    text = dump_json(value)
    assert json.loads(text) == json.loads(json.dumps(value))
    assert parse_json(text) == value
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("value", ["\ud800", {"\udc80": ["é\udfff"]}, (1, "a")])
def test_lone_surrogates_are_escaped_as_by_the_standard_library(value: object) -> None:
    assert json.loads(dump_json(value)) == json.loads(json.dumps(value))


def test_no_number_is_written_as_the_standard_library_writes_it() -> None:
    assert dump_json([math.inf, -math.inf, math.nan]) == b"[Infinity,-Infinity,NaN]"


def test_what_is_no_plain_value_is_refused() -> None:
    with pytest.raises(TypeError):
        dump_json({"at": object()})


@pytest.mark.parametrize("text", [b'"\\ud800"', '["\\udfff x"]', b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16"), "[1e400]"])
def test_what_only_the_standard_library_reads_is_read(text: str | bytes) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize("text", ["", "{", b"\xff", "nothing", '{"a": 1} x'])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_endless_nesting_is_refused() -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_json("[" * 200_000)
    assert parse_json("[" * 300 + "]" * 300) == json.loads("[" * 300 + "]" * 300)
