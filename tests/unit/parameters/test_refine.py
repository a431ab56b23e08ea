"""Refinements: what they inherit, their default sizes, steps and starts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import InvalidInput
from core.parameters.refine import ParentImage, Refinement, refine
from core.schemas.refine import RefineRequest
from tests.unit.parameters.conftest import Normalise, model

GIVEN: dict[str, Any] = {
    "model": "x", "prompt": "a red fox", "negative_prompt": "blurry", "num_inference_steps": 8, "guidance_scale": 1.5,
    "seed": 7, "num_images": 1, "loras": [{"name": "ink", "scale": 0.8}], "preset": "draft", "strict": True,
}  # fmt: skip


def refined(
    name: str = "z-image-turbo",
    parent_size: tuple[int, int] = (512, 512),
    *,
    enlarged: bool = False,
    given: dict[str, Any] | None = None,
    **fields: object,
) -> Refinement:
    parent = ParentImage("p", *parent_size, GIVEN | (given or {}), is_enlarged=enlarged)
    return refine(RefineRequest.model_validate(fields), parent, model(name))


def test_hires_is_the_default_and_inherits_all_but_the_size() -> None:
    found = refined()
    sent = found.request.as_sent()
    assert {name: sent[name] for name in ("prompt", "negative_prompt", "guidance_scale", "seed", "strict", "loras")} == {
        name: GIVEN[name] for name in ("prompt", "negative_prompt", "guidance_scale", "seed", "strict", "loras")
    }
    assert (sent["model"], sent["width"], sent["height"]) == ("z-image-turbo", 1024, 1024)
    assert (sent["start_sigma"], sent["num_inference_steps"], "strength" in sent) == (0.5, 4, False)
    assert found.from_image
    assert (found.origin.upscaler, found.origin.coherent) == ("lanczos", None)
    assert found.origin.parent is not None
    assert found.origin.parent.model_dump() == {"image": "p", "model": "z-image-turbo"}
    assert found.origin.refine_mode == "hires"


@pytest.mark.parametrize(("steps", "start", "expected"), [(8, 0.5, 4), (28, 0.5, 14), (8, 0.9, 7), (2, 0.5, 2), (8, 0.1, 4)])
def test_a_start_sigma_takes_its_share_of_the_steps(steps: int, start: float, expected: int) -> None:
    found = refined(given={"num_inference_steps": steps}, start_sigma=start).request
    assert (found.num_inference_steps, found.start_sigma) == (expected, start)
    assert refined(start_sigma=start, steps=9).request.num_inference_steps == 9


@pytest.mark.parametrize(("steps", "expected"), [(1, 3), (4, 4), (25, 25)])
def test_a_strength_leaves_at_least_one_step(steps: int, expected: int) -> None:
    found = refined("sd-turbo", given={"num_inference_steps": steps}).request
    assert (found.num_inference_steps, found.strength, found.start_sigma) == (expected, 0.4, None)
    assert int(expected * 0.4) >= 1


@pytest.mark.parametrize(
    ("size", "fields", "expected"),
    [
        ((512, 768), {}, (1024, 1536)),
        ((512, 768), {"width": 768}, (768, 1152)),
        ((512, 768), {"height": 1152}, (768, 1152)),
        ((512, 768), {"width": 768, "height": 768}, (768, 768)),
    ],
)
def test_the_size_is_double_or_in_proportion(
    size: tuple[int, int], fields: dict[str, Any], expected: tuple[int, int]
) -> None:
    found = refined("z-image-turbo", size, **fields).request
    assert (found.width, found.height) == expected


@pytest.mark.parametrize("size", [(1536, 1024), (2048, 512), (1024, 1792)])
@pytest.mark.parametrize("name", ["z-image-turbo", "sd-turbo", "demo"])
def test_a_default_size_is_one_that_the_model_renders(normalised: Normalise, name: str, size: tuple[int, int]) -> None:
    found, limits = refined(name, size).request, model(name).limits
    assert found.width is not None
    assert found.height is not None
    assert found.width * found.height <= limits.max_pixels
    assert normalised(name, width=found.width, height=found.height).parameters.width == found.width


def test_coherent_noise_names_all_that_the_parents_was_drawn_from() -> None:
    varied = {"variation_seed": 5, "variation_strength": 0.25}
    found = refined(mode="coherent", given=varied, seed=9, n=2)
    assert (found.from_image, found.request.seed, found.request.num_images) == (False, 9, 2)
    source = found.origin.coherent
    assert source is not None
    assert source.model_dump(exclude_none=True) == {"seed": 7, "width": 512, "height": 512} | varied
    assert "variation_seed" not in found.request.as_sent()
    child = refined(mode="coherent", width=1024, height=1024, given={"coherent": source.model_dump(), "seed": 9})
    assert child.origin.coherent is not None
    assert child.origin.coherent.coherent == source


def test_the_same_seed_is_labelled_a_new_composition_and_keeps_everything_else() -> None:
    given = {"variation_seed": 5, "variation_strength": 0.25, "init_image": "u", "start_sigma": 0.6}
    found = refined(mode="same_seed", given=given)
    assert "new composition" in found.origin.warnings[0]
    assert found.request.as_sent().items() >= given.items()
    assert found.request.num_inference_steps == 8
    assert "same image again" in refined(mode="same_seed", width=512, height=512).origin.warnings[0]


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("flux2-klein-4b", {}, "edits an image as the prompt says"),
        ("flux2-klein-4b", {"mode": "coherent"}, "draws its noise by itself"),
        ("z-image-turbo", {"mode": "coherent", "width": 768, "height": 768}, "send 1024x1024"),
        ("z-image-turbo", {"mode": "coherent", "given": {"init_image": "u"}}, "made from another image"),
        ("z-image-turbo", {"mode": "coherent", "upscaler": "lanczos"}, "belongs to mode hires"),
        ("z-image-turbo", {"mode": "same_seed", "strength": 0.4}, "belongs to mode hires"),
        ("z-image-turbo", {"mode": "same_seed", "seed": 4}, "keeps the parent's seed"),
        ("z-image-turbo", {"mode": "coherent", "enlarged": True}, "no seed renders it"),
        ("z-image-turbo", {"given": {"num_inference_steps": None}}, "no prompt"),
    ],
)
def test_what_cannot_be_refined_is_refused_with_a_way_out(name: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        refined(name, **fields)


def test_a_variation_is_stored_only_with_a_strength(normalised: Normalise) -> None:
    stored = normalised(variation_seed=5, variation_strength=0.5, seed=2**32 - 1, n=4).parameters.stored()
    assert (stored["variation_seed"], stored["variation_strength"], stored["seed"]) == (5, 0.5, 2**32 - 1)
    for fields in ({"variation_strength": 0}, {"variation_seed": 5, "variation_strength": 0.0}, {"variation_seed": 5}):
        found = normalised(**fields)
        assert not {"variation_seed", "variation_strength"} & found.parameters.stored().keys()
        assert bool(found.warnings) == ("variation_strength" not in fields)
    drawn = normalised(variation_strength=0.5).parameters.variation_seed
    assert drawn is not None


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("demo", {"variation_strength": 1.5}, "0 \\(no variation\\) to 1"),
        ("demo", {"variation_strength": -0.1}, "0 \\(no variation\\) to 1"),
        ("demo", {"variation_strength": 0.5, "variation_seed": -2}, "variation_seed: -2 is out of range"),
        ("demo", {"variation_strength": 0.5, "variation_seed": 2**32 - 1, "n": 2}, "variation_seed \\+ i"),
        ("flux2-klein-4b", {"variation_strength": 0.5}, "draws its noise by itself"),
    ],
)
def test_a_variation_that_cannot_be_rendered_is_refused(
    normalised: Normalise, name: str, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        normalised(name, **fields)
