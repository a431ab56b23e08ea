"""docs/reference/http-api.md names every address that there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.app import create_app
from core.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http-api.md"
_CALL = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)`")
_EMPTY = "Not available: always empty"


@pytest.fixture(scope="module")
def calls() -> dict[tuple[str, str], str]:
    """Return (method, path) -> summary."""
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]
    return {(verb.upper(), path): call["summary"] for path, verbs in paths.items() for verb, call in verbs.items()}


def test_the_page_names_exactly_the_calls_of_the_api(calls: dict[tuple[str, str], str]) -> None:
    text = PAGE.read_text(encoding="utf-8").replace(
        "`GET`, `POST`,\n  `DELETE /v1/session`", "`GET /v1/session` `POST /v1/session` `DELETE /v1/session`"
    )
    named = set(_CALL.findall(text))
    needed = {call for call, summary in calls.items() if summary != _EMPTY}
    assert needed - named == set()
    assert named - set(calls) == set()
