"""The catalogue's rows are consistent, and inconsistent rows are refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.catalogue import Catalogue, CatalogueModel, load_catalogue
from core.errors import InvalidInput

MODEL_IDS = [model.id for model in load_catalogue()]


def row(**changes: object) -> dict[str, Any]:
    """Return a valid row with changes."""
    return load_catalogue().get("z-image-turbo").model_dump() | changes


def test_the_catalogue_has_every_planned_model_and_family() -> None:
    assert {"demo", "z-image-turbo", "z-image", "sd-turbo", "sdxl-turbo", "lcm-sd15", "tiny-sd"} <= set(MODEL_IDS)
    assert {model.family for model in load_catalogue()} == {"z-image", "stable-diffusion", "stock"}


def test_turbo_defaults_are_the_official_recipe() -> None:
    turbo = load_catalogue().get("z-image-turbo")
    assert (turbo.defaults.num_inference_steps, turbo.defaults.guidance_scale, turbo.cfg) == (8, 1.0, "offset")


def test_an_alias_finds_its_row() -> None:
    assert load_catalogue().get("tinydiffusion").id == "tiny-sd"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_catalogue().get("dall-e")
    assert caught.value.code == "unknown_model"
    assert caught.value.field == "model"
    assert all(model_id in caught.value.message for model_id in MODEL_IDS)


def test_two_rows_with_one_name_are_refused() -> None:
    first = CatalogueModel.model_validate(row())
    second = CatalogueModel.model_validate(row(id="other", aliases=["z-image-turbo"]))
    with pytest.raises(ValueError, match="means both z-image-turbo and other"):
        Catalogue([first, second])


DEFAULTS = row()["defaults"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtypes": ("float16",)}, "overflows in float16"),
        ({"defaults": DEFAULTS | {"width": 1000}}, "not a multiple"),
        ({"defaults": DEFAULTS | {"width": 16}}, "outside the limits"),
        ({"defaults": DEFAULTS | {"width": 4096, "height": 4096}}, "too many pixels"),
        ({"defaults": DEFAULTS | {"num_inference_steps": 0}}, "steps are outside"),
        ({"defaults": DEFAULTS | {"guidance_scale": 0.0}}, "guidance is outside"),
        ({"cfg": "none"}, "negative prompt needs guidance"),
        ({"built_locally": True}, "names a repository"),
        ({"weights": {}}, "names no repository"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_an_inconsistent_row_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        CatalogueModel.model_validate(row(**changes))
