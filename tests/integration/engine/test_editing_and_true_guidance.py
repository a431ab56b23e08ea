"""Stock pipelines with an image to edit (FLUX.2 klein) and with true guidance (Qwen-Image), against plain calls of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline
from PIL import Image

from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel, random_png, tiny_model
from worker.init_image import unpack_reference


@pytest.fixture
def flux(models_dir: Path) -> TinyModel:
    torch.set_num_threads(1)
    return tiny_model("flux2-klein-4b", models_dir, "bfloat16")


@pytest.fixture(params=["float32", "bfloat16"])
def qwen(request: pytest.FixtureRequest, models_dir: Path) -> TinyModel:
    torch.set_num_threads(1)
    return tiny_model("qwen-image", models_dir, request.param)


def rendered(made: TinyModel, *inputs: Any) -> bytes:  # noqa: ANN401 - a request and its images
    return made.family.decode(made.alone(*inputs)).numpy().tobytes()


def called(pipeline: Any, **options: Any) -> bytes:  # noqa: ANN401 - untyped pipelines
    """Return the pixels of a plain call for seed 3 and the prompt `a cat`."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(3)
    image: Image.Image = pipeline(prompt="a cat", generator=generator, output_type="pil", **options).images[0]
    return image.tobytes()


@pytest.mark.parametrize("size", [(64, 64), (150, 70)])
def test_an_edited_image_keeps_its_shape_as_in_the_pipeline(flux: TinyModel, size: tuple[int, int]) -> None:
    data = random_png(*size)
    request = a_request(3, "a cat", width=96, height=64, num_inference_steps=3, has_init_image=True)
    options = {"width": 96, "height": 64, "num_inference_steps": 3, "guidance_scale": 1.0}
    expected = called(flux.stock, image=Image.open(io.BytesIO(data)), **options)
    assert rendered(flux, request, data) == expected
    assert rendered(flux, request, unpack_reference(data)) == expected, "as the worker sends it"
    assert expected != called(flux.stock, **options)


@pytest.mark.parametrize(
    ("guidance", "negative", "options"),
    [
        (1.0, "", {"true_cfg_scale": 1.0}),
        (1.0, "dog", {"true_cfg_scale": 1.0}),
        (4.0, "", {"true_cfg_scale": 4.0, "negative_prompt": " "}),
        (2.5, "dog", {"true_cfg_scale": 2.5, "negative_prompt": "dog"}),
    ],
)
def test_qwen_image_is_bit_identical(qwen: TinyModel, guidance: float, negative: str, options: dict[str, Any]) -> None:
    request = a_request(
        3, "a cat", width=64, height=96, num_inference_steps=3, guidance_scale=guidance, negative_prompt=negative
    )
    assert rendered(qwen, request) == called(qwen.stock, width=64, height=96, num_inference_steps=3, **options)


def test_guidance_and_negative_prompt_have_an_effect(qwen: TinyModel) -> None:
    plain, guided, avoiding = (
        rendered(qwen, a_request(3, "a cat", guidance_scale=scale, negative_prompt=negative))
        for scale, negative in ((1.0, ""), (4.0, ""), (4.0, "dog"))
    )
    assert len({plain, guided, avoiding}) == 3


def test_qwen_image_starts_from_an_image(qwen: TinyModel) -> None:
    data = random_png(64, 64)
    request = a_request(3, "a cat", 64, 5, strength=0.6, has_init_image=True, guidance_scale=2.0)
    pipeline = QwenImageImg2ImgPipeline(**qwen.stock.components)
    options = {"width": 64, "height": 64, "num_inference_steps": 5, "strength": 0.6}
    image = Image.open(io.BytesIO(data))
    expected = called(pipeline, image=image, true_cfg_scale=2.0, negative_prompt=" ", **options)
    sample = qwen.alone(request, data)
    assert sample.steps == 3
    assert qwen.family.decode(sample).numpy().tobytes() == expected


def test_qwen_image_reports_steps_and_previews_and_can_be_canceled(qwen: TinyModel) -> None:
    sample, seen = qwen.start(a_request(3, "a cat", width=64, height=96, num_inference_steps=3)), []
    while sample.step < sample.steps:
        qwen.family.step([sample])
        preview = qwen.family.preview(sample)
        assert preview is not None
        assert preview.shape == (12, 8, 3)
        assert preview.float().std() > 0
        seen.append((sample.step, sample.steps))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    finished = qwen.family.decode(sample)
    canceled = qwen.start(a_request(4, size=64, steps=5))
    qwen.family.step([canceled])
    qwen.family.close(canceled)
    again = qwen.alone(a_request(3, "a cat", width=64, height=96, num_inference_steps=3))
    assert torch.equal(qwen.family.decode(again), finished)
