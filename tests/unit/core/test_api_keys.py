"""Names, owners and lives of keys that can be created."""

from __future__ import annotations

import pytest

from core.api_keys import check_new_key
from core.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "owner", "days"), [("anna-laptop", "", None), ("工作室 🦊", "anna", 0.5), ("x" * 100, "y" * 120, 90)]
)
def test_these_keys_can_be_created(name: str, owner: str, days: float | None) -> None:
    check_new_key(name, owner, days)


@pytest.mark.parametrize(
    ("name", "owner", "days", "field"),
    [
        ("", "", None, "name"),
        (" anna", "", None, "name"),
        ("a\nb", "", None, "name"),
        ("x" * 101, "", None, "name"),
        ("anna", "y" * 121, None, "owner"),
        ("anna", "a\x00b", None, "owner"),
        ("anna", "", 0, "days"),
        ("anna", "", float("nan"), "days"),
        ("anna", "", float("inf"), "days"),
    ],
)
def test_these_keys_are_refused(name: str, owner: str, days: float | None, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_new_key(name, owner, days)
    assert caught.value.field == field
