"""Negotiation of image formats by Accept headers."""

from __future__ import annotations

import pytest

from api.image_formats import negotiate
from core.errors import FarmError


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "png"),
        ("", "png"),
        ("*/*", "png"),
        ("image/webp", "webp"),
        ("image/jpeg;q=0.9, image/webp;q=0.8", "jpeg"),
        ("image/*", "png"),
        ("image/png;q=0.1, */*;q=0.5", "jpeg"),
        ("image/png;q=0, image/*", "jpeg"),
        ("image/webp;q=nonsense, image/png;q=0.1", "png"),
        ("image/webp;q=nan, image/jpeg;q=0.1", "jpeg"),
    ],
)
def test_the_highest_weight_wins_and_ties_go_to_the_stored_format(accept: str | None, expected: str) -> None:
    assert negotiate(accept, "png") == expected


@pytest.mark.parametrize("accept", ["text/html", "image/tiff", "image/png;q=0", ",;,"])
def test_unavailable_formats_are_refused(accept: str) -> None:
    with pytest.raises(FarmError) as caught:
        negotiate(accept, "png")
    assert caught.value.code == "not_acceptable"
