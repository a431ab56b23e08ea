"""What a request becomes: defaults, presets, sizes, seeds, limits, warnings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalogue import load_catalogue
from core.errors import InvalidInput
from core.parameters import InitImage, InvalidParameters, RequestLimits, normalise
from core.parameters.normalise import LARGEST, resolve_seed
from core.parameters.parameters import Findings
from core.presets import all_presets
from core.schemas.jobs import JobRequest
from tests.unit.parameters.conftest import Make

PICTURE = InitImage(upload_id="u", key="k", width=1000, height=500, sha256="s")


@pytest.mark.parametrize("name", [model.id for model in load_catalogue()])
def test_every_models_own_recipe_is_accepted_without_a_warning(made: Make, name: str) -> None:
    found = made(name)
    defaults = load_catalogue().get(name).defaults
    assert (found.parameters.width, found.parameters.num_inference_steps) == (
        defaults.width,
        defaults.num_inference_steps,
    )
    assert found.warnings == []


@pytest.mark.parametrize("preset", [preset.id for preset in all_presets()])
@pytest.mark.parametrize("name", ["demo", "z-image-turbo", "z-image", "sd-turbo", "flux2-klein-4b"])
def test_every_preset_fits_every_model(made: Make, name: str, preset: str) -> None:
    found = made(name, preset=preset).parameters
    wanted = next(row for row in all_presets() if row.id == preset)
    assert (found.width, found.height, found.preset) == (wanted.width, wanted.height, preset)


def test_what_is_sent_wins_over_the_preset_and_that_over_the_model(made: Make) -> None:
    found = made("z-image-turbo", preset="draft", height=256).parameters
    assert (found.width, found.height, found.num_inference_steps) == (512, 256, 4)
    assert made("z-image-turbo", preset="draft", size="64x64", steps=9).parameters.num_inference_steps == 9


def test_an_unknown_preset_names_near_ones(made: Make) -> None:
    with pytest.raises(InvalidInput, match="portrait") as caught:
        made(preset="portait")
    assert caught.value.field == "preset"


def test_sizes_in_words(made: Make) -> None:
    for size in ("512x768", "512 X 768", "512*768", "512\N{MULTIPLICATION SIGN}768"):
        found = made(size=size).parameters
        assert (found.width, found.height) == (512, 768)


def test_an_area_beyond_the_model_names_one_that_fits(made: Make) -> None:
    with pytest.raises(InvalidParameters, match="such as 1448x1448"):
        made("sd-turbo", width=2048, height=2048)


def test_image_to_image_takes_the_pictures_size_and_a_strength(made: Make) -> None:
    found = made(picture=PICTURE).parameters
    assert (found.width, found.height, found.strength) == (992, 496, 0.6)
    with pytest.raises(InvalidParameters, match="more than 0"):
        made(picture=PICTURE, strength=0)


def test_a_start_sigma_stands_in_place_of_strength(made: Make) -> None:
    found = made("z-image-turbo", picture=PICTURE, start_sigma=0.5, steps=4)
    assert (found.parameters.start_sigma, found.parameters.strength) == (0.5, None)
    assert found.parameters.stored()["start_sigma"] == 0.5
    assert found.warnings == []
    assert "no effect" in made(picture=PICTURE, start_sigma=1).warnings[0]


@pytest.mark.parametrize(
    ("name", "picture", "fields", "words"),
    [
        ("demo", PICTURE, {"start_sigma": 0.5, "strength": 0.5}, "send one of them"),
        ("demo", None, {"start_sigma": 0.5}, "send init_image with it"),
        ("demo", PICTURE, {"start_sigma": 0}, "more than 0, at most 1"),
        ("demo", PICTURE, {"start_sigma": 1.01}, "more than 0, at most 1"),
        ("sd-turbo", PICTURE, {"start_sigma": 0.5}, "send strength instead"),
        ("flux2-klein-4b", PICTURE, {"start_sigma": 0.5}, "leave both out"),
    ],
)
def test_a_start_sigma_that_cannot_be_is_explained(
    made: Make, name: str, picture: InitImage | None, fields: dict[str, float], words: str
) -> None:
    with pytest.raises(InvalidParameters, match=words) as caught:
        made(name, picture=picture, **fields)
    assert "start_sigma" in [field for field, _ in caught.value.problems]


def test_a_huge_picture_is_brought_within_the_models_limits(made: Make) -> None:
    huge = PICTURE.model_copy(update={"width": 8000, "height": 4000})
    found = made(picture=huge).parameters
    assert found.width * found.height <= 4_194_304
    assert found.width % 16 == found.height % 16 == 0


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("z-image-turbo", {"steps": 40, "cfg_scale": 7.5}, "10.0x"),
        ("z-image-turbo", {"negative_prompt": "blurry"}, "no effect while guidance is off"),
        ("sd-turbo", {"negative_prompt": "blurry"}, "sd-turbo does not use one"),
        ("z-image", {"steps": 80}, "2.0x"),
    ],
)
def test_warnings(made: Make, name: str, fields: dict[str, object], words: str) -> None:
    assert any(words in warning for warning in made(name, **fields).warnings)


def test_no_warning_where_guidance_is_on(made: Make) -> None:
    assert made("z-image", negative_prompt="blurry").warnings == []


@given(st.integers(1, 1000))
def test_a_drawn_seed_leaves_room_for_every_image(count: int) -> None:
    seed = resolve_seed(-1, count, Findings())
    assert seed >= 0
    assert seed + count - 1 <= LARGEST


@given(
    width=st.one_of(st.none(), st.integers(-(10**9), 10**9)),
    height=st.one_of(st.none(), st.integers(-100, 5000)),
    size=st.one_of(st.none(), st.text(max_size=12)),
    steps=st.one_of(st.none(), st.integers(-5, 500)),
    guidance=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    seed=st.integers(-(2**40), 2**40),
    count=st.integers(-3, 40),
)
def test_whatever_is_sent_is_either_refused_with_reasons_or_can_be_rendered(
    width: int | None,
    height: int | None,
    size: str | None,
    steps: int | None,
    guidance: float | None,
    seed: int,
    count: int,
) -> None:
    fields = {
        **{"width": width, "height": height, "size": size, "num_inference_steps": steps, "guidance_scale": guidance},
        **{"seed": seed, "num_images": count},
    }
    given_fields = {name: value for name, value in fields.items() if value is not None}
    request = JobRequest(prompt="x").model_copy(update=given_fields)
    model = load_catalogue().get("demo")
    try:
        found = normalise(request, model, RequestLimits(10_000, 16)).parameters
    except InvalidParameters as error:
        assert all(field and message for field, message in error.problems)
        return
    assert model.limits.min_side <= found.width <= model.limits.max_side
    assert found.width % model.limits.multiple == found.height % model.limits.multiple == 0
    assert 1 <= found.num_inference_steps <= model.limits.max_steps
    assert 0 <= found.seed <= found.seed + found.num_images - 1 <= LARGEST
