"""Labels of clients: what of them is kept."""

from __future__ import annotations

import pytest

from api.caller import clean_label


def as_sent(label: str) -> str:
    """Return the header as the server gives it to the API: a character for each byte."""
    return label.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("label", "kept"),
    [
        ("studio-1 (a)", "studio-1 _a_"),
        ("李雷", "李雷"),
        ("हिन्दी", "हिन्दी"),
        ("e\u0301te\u0301", "été"),
        ("\u0301a-\u0301", "_a-_"),
        ("\u202ea\u200bb\u2028c\x85d", "_a_b_c_d"),
        (" ", None),
    ],
)
def test_letters_of_any_script_are_kept_and_other_signs_replaced(label: str, kept: str | None) -> None:
    assert clean_label(as_sent(label)) == kept


def test_names_that_differ_in_vowel_signs_are_different() -> None:
    assert clean_label(as_sent("कि")) != clean_label(as_sent("की"))
