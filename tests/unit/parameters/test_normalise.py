"""Normalisation of requests: defaults, presets, sizes, seeds, limits, warnings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalogue import load_catalogue
from core.errors import InvalidInput
from core.parameters import InitImage, InvalidParameters, MaskImage, RequestLimits, normalise
from core.parameters.parameters import Findings
from core.parameters.seeds import resolve_seed
from core.presets import all_presets
from core.render import MAX_SEED
from core.schemas.jobs import JobRequest
from tests.unit.parameters.conftest import Normalise

INIT_IMAGE = InitImage(upload_id="u", key="k", width=1000, height=500, sha256="s")
MASK = MaskImage(upload_id="m", key="l", width=500, height=250, sha256="t", white_share=0.25)


@pytest.mark.parametrize("name", [model.id for model in load_catalogue()])
def test_every_models_defaults_are_accepted_without_a_warning(normalised: Normalise, name: str) -> None:
    found = normalised(name)
    defaults = load_catalogue().get(name).defaults
    assert (found.parameters.width, found.parameters.num_inference_steps) == (
        defaults.width,
        defaults.num_inference_steps,
    )
    assert found.warnings == []


@pytest.mark.parametrize("preset", [preset.id for preset in all_presets()])
@pytest.mark.parametrize("name", ["demo", "z-image-turbo", "z-image", "sd-turbo", "flux2-klein-4b", "qwen-image"])
def test_every_preset_fits_every_model(normalised: Normalise, name: str, preset: str) -> None:
    found = normalised(name, preset=preset).parameters
    wanted = next(row for row in all_presets() if row.id == preset)
    assert (found.width, found.height, found.preset) == (wanted.width, wanted.height, preset)


def test_the_request_overrides_the_preset_and_the_preset_the_model(normalised: Normalise) -> None:
    found = normalised("z-image-turbo", preset="draft", height=256).parameters
    assert (found.width, found.height, found.num_inference_steps) == (512, 256, 4)
    assert normalised("z-image-turbo", preset="draft", size="64x64", steps=9).parameters.num_inference_steps == 9


def test_the_error_for_an_unknown_preset_suggests_similar_ones(normalised: Normalise) -> None:
    with pytest.raises(InvalidInput, match="portrait") as caught:
        normalised(preset="portait")
    assert caught.value.field == "preset"


def test_sizes_as_text_are_parsed(normalised: Normalise) -> None:
    for size in ("512x768", "512 X 768", "512*768", "512\N{MULTIPLICATION SIGN}768"):
        found = normalised(size=size).parameters
        assert (found.width, found.height) == (512, 768)


def test_the_error_for_too_many_pixels_names_a_size_that_fits(normalised: Normalise) -> None:
    with pytest.raises(InvalidParameters, match="such as 1448x1448"):
        normalised("sd-turbo", width=2048, height=2048)


def test_image_to_image_uses_the_init_images_size_and_a_strength(normalised: Normalise) -> None:
    found = normalised(init_image=INIT_IMAGE).parameters
    assert (found.width, found.height, found.strength) == (992, 496, 0.6)
    with pytest.raises(InvalidParameters, match="more than 0"):
        normalised(init_image=INIT_IMAGE, strength=0)


def test_a_start_sigma_replaces_strength(normalised: Normalise) -> None:
    found = normalised("z-image-turbo", init_image=INIT_IMAGE, start_sigma=0.5, steps=4)
    assert (found.parameters.start_sigma, found.parameters.strength) == (0.5, None)
    assert found.parameters.stored()["start_sigma"] == 0.5
    assert found.warnings == []
    assert "no effect" in normalised(init_image=INIT_IMAGE, start_sigma=1).warnings[0]


@pytest.mark.parametrize(
    ("name", "init_image", "fields", "words"),
    [
        ("demo", INIT_IMAGE, {"start_sigma": 0.5, "strength": 0.5}, "send one of them"),
        ("demo", None, {"start_sigma": 0.5}, "send init_image with it"),
        ("demo", INIT_IMAGE, {"start_sigma": 0}, "more than 0, at most 1"),
        ("demo", INIT_IMAGE, {"start_sigma": 1.01}, "more than 0, at most 1"),
        ("sd-turbo", INIT_IMAGE, {"start_sigma": 0.5}, "send strength instead"),
        ("flux2-klein-4b", INIT_IMAGE, {"start_sigma": 0.5}, "leave both out"),
    ],
)
def test_an_invalid_start_sigma_is_explained(
    normalised: Normalise, name: str, init_image: InitImage | None, fields: dict[str, float], words: str
) -> None:
    with pytest.raises(InvalidParameters, match=words) as caught:
        normalised(name, init_image=init_image, **fields)
    assert "start_sigma" in [field for field, _ in caught.value.problems]


def test_a_mask_repaints_with_full_strength_and_hard_edges(normalised: Normalise) -> None:
    found = normalised(init_image=INIT_IMAGE, mask=MASK)
    assert (found.parameters.strength, found.parameters.mask_feather, found.parameters.mask) == (1.0, 0, MASK)
    assert found.warnings == []
    asked = normalised("sd-turbo", init_image=INIT_IMAGE, mask=MASK, strength=0.5, mask_feather=8).parameters
    assert (asked.strength, asked.stored()["mask_feather"], asked.stored()["mask"]["upload_id"]) == (0.5, 8, "m")
    assert normalised(init_image=INIT_IMAGE, mask=MASK, start_sigma=1).warnings == []
    assert normalised(init_image=INIT_IMAGE).parameters.mask_feather is None


@pytest.mark.parametrize(
    ("change", "words"),
    [({"white_share": 1.0}, "the whole image is repainted"), ({"width": 300}, "both are stretched to 992x496")],
)
def test_a_mask_that_is_probably_not_intended_gets_a_warning(
    normalised: Normalise, change: dict[str, float], words: str
) -> None:
    assert words in normalised(init_image=INIT_IMAGE, mask=MASK.model_copy(update=change)).warnings[0]


@pytest.mark.parametrize(
    ("name", "init_image", "mask", "fields", "field", "words"),
    [
        ("demo", None, MASK, {}, "mask", "send init_image with it"),
        ("demo", INIT_IMAGE, MASK.model_copy(update={"white_share": 0.0}), {}, "mask", "nothing to repaint"),
        ("demo", INIT_IMAGE, MASK, {"mask_feather": 257}, "mask_feather", "0 to 256"),
        ("demo", INIT_IMAGE, MASK, {"mask_feather": -1}, "mask_feather", "0 to 256"),
        ("demo", INIT_IMAGE, None, {"mask_feather": 8}, "mask_feather", "send mask with it"),
        ("flux2-klein-4b", INIT_IMAGE, MASK, {}, "mask", "choose another model"),
        ("qwen-image", INIT_IMAGE, MASK, {}, "mask", "choose another model"),
    ],
)
def test_an_invalid_mask_is_explained(
    normalised: Normalise,
    name: str,
    init_image: InitImage | None,
    mask: MaskImage | None,
    fields: dict[str, int],
    field: str,
    words: str,
) -> None:
    with pytest.raises(InvalidParameters, match=words) as caught:
        normalised(name, init_image=init_image, mask=mask, **fields)
    assert [problem for problem, _ in caught.value.problems] == [field]


def test_a_model_that_edits_images_takes_no_strength(normalised: Normalise) -> None:
    found = normalised("flux2-klein-4b", init_image=INIT_IMAGE)
    assert (found.parameters.strength, found.warnings) == (None, [])
    sent = normalised("flux2-klein-4b", init_image=INIT_IMAGE, strength=0.5)
    assert sent.parameters.strength is None
    assert "strength has no effect" in sent.warnings[0]


def test_the_size_of_a_huge_init_image_is_reduced_to_the_models_limits(normalised: Normalise) -> None:
    huge = INIT_IMAGE.model_copy(update={"width": 8000, "height": 4000})
    found = normalised(init_image=huge).parameters
    assert found.width * found.height <= 4_194_304
    assert found.width % 16 == found.height % 16 == 0


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("z-image-turbo", {"steps": 40, "cfg_scale": 7.5}, "10.0x"),
        ("z-image-turbo", {"negative_prompt": "blurry"}, "no effect while guidance is off"),
        ("flux2-klein-4b", {"negative_prompt": "blurry"}, "flux2-klein-4b does not use one"),
        ("z-image", {"steps": 80}, "2.0x"),
    ],
)
def test_parameters_that_are_probably_not_intended_get_a_warning(
    normalised: Normalise, name: str, fields: dict[str, object], words: str
) -> None:
    assert any(words in warning for warning in normalised(name, **fields).warnings)


def test_a_negative_prompt_gets_no_warning_while_guidance_is_on(normalised: Normalise) -> None:
    assert normalised("z-image", negative_prompt="blurry").warnings == []


@given(st.integers(1, 1000))
def test_a_drawn_seed_leaves_room_for_every_image(count: int) -> None:
    seed = resolve_seed(-1, count, Findings())
    assert seed >= 0
    assert seed + count - 1 <= MAX_SEED


@given(
    width=st.one_of(st.none(), st.integers(-(10**9), 10**9)),
    height=st.one_of(st.none(), st.integers(-100, 5000)),
    size=st.one_of(st.none(), st.text(max_size=12)),
    steps=st.one_of(st.none(), st.integers(-5, 500)),
    guidance=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    seed=st.integers(-(2**40), 2**40),
    count=st.integers(-3, 40),
)
def test_every_request_is_either_refused_with_reasons_or_can_be_rendered(
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
    assert 0 <= found.seed <= found.seed + found.num_images - 1 <= MAX_SEED
