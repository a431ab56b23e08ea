"""Inpainting: alone it is bit-identical to diffusers' inpainting pipelines, in a micro-batch next to nothing apart."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from PIL import Image, ImageDraw

from core.errors import InvalidInput
from core.render import RenderRequest
from tests.integration.engine.recorder import Recorder, a_request
from tests.integration.engine.test_mixed_batches import TOLERANCE
from tests.integration.engine.tiny_models import TinyModel, random_png, tiny_model
from worker.engine.client import EngineClient
from worker.engine.messages import Rendered, RequestFailed

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

STEPPED = ["demo", "sd-turbo", "sdxl-turbo", "lcm-sd15", "tiny-sd"]


def a_mask(left: int = 20, top: int = 8, size: int = 27, side: int = 64, mode: str = "L") -> bytes:
    """Return a PNG that is black but for a white square."""
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).rectangle((left, top, left + size, top + size), fill="white")
    buffer = io.BytesIO()
    mask.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def an_inpainting(index: int, steps: int = 4, **changes: object) -> RenderRequest:
    fields: dict[str, object] = {"has_init_image": True, "has_mask": True}
    return a_request(index, "a cat", 64, steps, **(fields | changes))


def check_alone(made: TinyModel, request: RenderRequest, mask: bytes) -> None:
    image = random_png(64, 64)
    sample = made.alone(request, image, mask)
    latents, pixels = made.expected_both(request, image, mask)
    assert torch.equal(sample.latents[0], latents)
    assert made.family.decode(sample).numpy().tobytes() == pixels
    without_mask = made.alone(request.model_copy(update={"has_mask": False}), image)
    assert not torch.equal(sample.latents, without_mask.latents), "the mask has an effect"


@pytest.mark.parametrize("model_id", STEPPED)
@pytest.mark.parametrize(("strength", "guidance"), [(1.0, 1.0), (0.6, 1.7)])
def test_alone_it_is_bit_identical(models_dir: Path, model_id: str, strength: float, guidance: float) -> None:
    torch.set_num_threads(1)
    request = an_inpainting(3, strength=strength, guidance_scale=guidance, negative_prompt="dog")
    check_alone(tiny_model(model_id, models_dir), request, a_mask())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "fields",
    [
        {"strength": 0.3, "guidance_scale": 4.0},
        {"start_sigma": 0.5},
        {"start_sigma": 1.0, "guidance_scale": 2.5},
        {"strength": 1.0},
    ],
)
def test_z_image_alone_is_bit_identical(models_dir: Path, dtype: str, fields: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    check_alone(tiny_model("demo", models_dir, dtype), an_inpainting(5, 5, **fields), a_mask(mode="RGB"))


def test_without_a_strength_the_white_area_is_painted_anew(models_dir: Path) -> None:
    made, image, mask = tiny_model("demo", models_dir), random_png(64, 64), a_mask()
    sample = made.alone(an_inpainting(1), image, mask)
    assert torch.equal(sample.latents, made.alone(an_inpainting(1, strength=1.0), image, mask).latents)
    assert sample.steps == 4


@pytest.mark.parametrize(("model_id", "dtype"), [*((name, "float32") for name in STEPPED), ("demo", "bfloat16")])
def test_a_micro_batch_mixes_images_masks_and_text(models_dir: Path, model_id: str, dtype: str) -> None:
    torch.set_num_threads(1)
    made = tiny_model(model_id, models_dir, dtype)
    images, masks = [random_png(64, 64, seed) for seed in range(3)], [a_mask(), a_mask(0, 30, 33)]
    inputs: list[tuple[RenderRequest, bytes, bytes]] = [
        (an_inpainting(0, 5, strength=0.8), images[0], masks[0]),
        (an_inpainting(1, 4, strength=1.0), images[1], masks[1]),
        (a_request(2, "a cat", 64, 5, strength=0.6, has_init_image=True), images[0], b""),
        (a_request(3, "a cat", 64, 6, strength=0.5, has_init_image=True), images[2], b""),
        (a_request(4, "a cat", 64, 3), b"", b""),
    ]
    samples = [made.start(*each) for each in inputs]
    assert len({sample.group for sample in samples}) == 1, "one pass for all"
    while running := [sample for sample in samples if sample.step < sample.steps]:
        made.family.step(running)
    for (request, image, mask), sample in zip(inputs, samples, strict=True):
        assert (sample.latents[0] - made.expected(request, "latent", image, mask)).abs().max() < TOLERANCE[dtype]


@pytest.mark.parametrize("model_id", ["demo", "sd-turbo"])
def test_a_preview_shows_the_kept_part(models_dir: Path, model_id: str) -> None:
    made = tiny_model(model_id, models_dir)
    sample = made.start(an_inpainting(1, 6, strength=1.0), random_png(64, 64), a_mask(0, 0, 31))
    made.family.step([sample])
    preview = made.family.preview(sample)
    assert preview is not None
    family: Any = made.family
    kept = family._preview.pixels(sample.inpainting.image_latents)
    assert torch.equal(preview[4:, 4:], kept[4:, 4:])
    assert not torch.equal(preview[:4, :4], kept[:4, :4])


@pytest.mark.parametrize("model_id", ["demo", "tiny-sd"])
@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (b"", a_mask(), "send an input image"),
        (random_png(64, 64), a_mask(70), "nothing to repaint"),
        (random_png(64, 64), a_mask(9, 9, 5), "too thin"),
        (random_png(64, 64), b"no image", "cannot be read"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused(
    models_dir: Path, model_id: str, image: bytes, mask: bytes, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        tiny_model(model_id, models_dir).start(an_inpainting(0), image, mask)


def test_a_model_without_inpainting_refuses_a_mask(models_dir: Path) -> None:
    with pytest.raises(InvalidInput, match="send no mask"):
        tiny_model("flux2-klein-4b", models_dir, "bfloat16").family.check(an_inpainting(0), True)


def test_a_unet_that_takes_the_mask_itself_is_refused(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny_model("tiny-sd", models_dir)
    unet = made.pipeline.unet
    monkeypatch.setattr(unet, "_internal_dict", FrozenDict({**unet.config, "in_channels": 9}))
    with pytest.raises(InvalidInput, match="9 input channels"):
        made.family.check(a_request(0), False)


def test_the_mask_reaches_the_engine_process(engine: tuple[EngineClient, Recorder], models_dir: Path) -> None:
    client, recorder = engine
    image, request = random_png(64, 64), an_inpainting(7, strength=0.7)
    client.submit(request, image, a_mask())
    rendered = recorder.wait_end(request.id)
    assert isinstance(rendered, Rendered)
    assert rendered.pixels == tiny_model("demo", models_dir).expected(request, "pil", image, a_mask()).tobytes()
    thin = an_inpainting(8)
    client.submit(thin, image, a_mask(9, 9, 5))
    failed = recorder.wait_end(thin.id)
    assert isinstance(failed, RequestFailed)
    assert failed.code == "invalid_input"
