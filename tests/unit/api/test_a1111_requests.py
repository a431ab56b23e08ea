"""Requests of A1111's shape that would take too much before they are refused, or that no answer can repeat."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from api.a1111.pictures import _png, _prepared
from api.a1111.request import job_requests
from core.catalogue import load_catalogue
from core.parameters.parameters import InvalidParameters
from core.schemas.a1111 import Img2Img, Txt2Img

DEMO = load_catalogue().get("demo")


def counts(**fields: Any) -> list[int]:  # noqa: ANN401 -- fields of the request
    found = job_requests(Txt2Img(prompt="x", **fields), DEMO, {}, 16, max_jobs=10)
    return [request.num_images for request in found.jobs]


def test_more_images_than_a_batch_may_have_are_refused_before_jobs_are_built() -> None:
    """A list of 10 ** 17 jobs would fill the memory."""
    assert counts(n_iter=160) == [16] * 10
    for fields in ({"n_iter": 161}, {"batch_size": 10**9, "n_iter": 10**9}):
        with pytest.raises(InvalidParameters, match="more than 160 images"):
            counts(**fields)


def test_two_negative_counts_are_no_positive_one() -> None:
    with pytest.raises(InvalidParameters, match="negative"):
        counts(n_iter=-1, batch_size=-1)


@pytest.mark.parametrize("size", [(-64, 64), (64, -1), (10**6, 64), (64, 10**9)])
@pytest.mark.parametrize("mode", [1, 2])
def test_an_image_is_not_fitted_to_a_size_that_no_model_renders(size: tuple[int, int], mode: int) -> None:
    """The job is refused with the model's limits; Pillow would raise, or fill the memory."""
    wanted = Img2Img(prompt="x", resize_mode=mode, width=size[0], height=size[1])
    image = _png(Image.new("RGB", (8, 64)))
    assert _prepared(wanted, DEMO, image, None, 10**6).image == image


@pytest.mark.parametrize(
    "fields", [{"more": "\ud800"}, {"override_settings": {"\udfff": 1}}, {"alwayson_scripts": {"a": ["\ud800"]}}]
)
def test_half_a_surrogate_pair_is_refused_before_it_is_rendered(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="surrogate"):
        Txt2Img(prompt="x", **fields)
    assert Txt2Img(prompt="x", **{"more": {"a": "🐈"}}).model_extra == {"more": {"a": "🐈"}}
