"""Statuses of errors."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from api.problems import CODES, STATUSES, from_http, status_of


@pytest.mark.parametrize("first", [401, 403, 418, 500])
def test_a_refusal_keeps_its_status_whatever_came_before(first: int) -> None:
    assert status_of(from_http(HTTPException(first))) == first
    assert status_of(from_http(HTTPException(400))) == 400
    assert from_http(HTTPException(400)).code == "bad_request"


def test_the_tables_of_statuses_are_read_only() -> None:
    for table in (CODES, STATUSES):
        with pytest.raises(TypeError):
            table["teapot"] = 418  # type: ignore[index]
