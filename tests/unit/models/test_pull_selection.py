"""A pull selects each file that the pipeline loads once, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.catalogue import load_catalogue
from core.errors import Conflict
from worker.models.folders import check_space, converted_bytes
from worker.models.pull.repository import select

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "image_encoder": [None, None],
}
REPOSITORY = [
    ".gitattributes",
    "LICENSE.md",
    "README.md",
    "model_index.json",
    "v1-5-pruned.safetensors",
    "safety_checker/model.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder/model.onnx",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "assets/image.png",
]


@pytest.mark.parametrize(
    ("variant", "unet", "text"),
    [
        ("fp16", "diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors"),
        (None, "diffusion_pytorch_model.safetensors", "model.safetensors"),
        ("nonsense", "diffusion_pytorch_model.safetensors", "model.safetensors"),
    ],
)
def test_one_set_of_weights_is_selected_per_component(variant: str | None, unet: str, text: str) -> None:
    assert set(select(REPOSITORY, INDEX, variant)) == {
        "LICENSE.md",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        f"text_encoder/{text}",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        f"unet/{unet}",
    }


def test_shards_are_selected_with_their_index() -> None:
    shards = [f"unet/diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    assert {*shards, index} <= set(select([*shards, index, "unet/config.json"], INDEX, None))


def test_a_full_disk_is_reported_before_writing(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_space(tmp_path / "not" / "there", 1, "A byte")
    with pytest.raises(Conflict, match=r"Pulling x needs .* GB under .* are free") as caught:
        check_space(tmp_path, free, "Pulling x")
    assert caught.value.code == "not_enough_disk"


def test_the_converted_size_of_turbo_is_that_of_bf16() -> None:
    turbo = load_catalogue().get("z-image-turbo")
    assert converted_bytes(turbo, 33 * 10**9, "bfloat16") == pytest.approx(20.5e9, rel=0.01)
