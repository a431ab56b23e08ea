"""The shipped configurations give the published models, the shipped tokenizers the published tokens, without a hub."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import diffusers
import pytest
import torch
import transformers
from diffusers import DiffusionPipeline

from core.catalogue.catalogue import Architecture
from core.catalogue.configs import config_folder
from core.catalogue.configs.folder import TOKENIZERS
from core.catalogue.model_folder import components
from tests.integration.models.conftest import catalogue_row
from worker.models.components import class_named
from worker.models.load import set_scheduler

PUBLISHED: dict[tuple[Architecture, str], int] = {
    ("z-image", "transformer"): 6_154_908_736,
    ("z-image", "text_encoder"): 4_022_468_096,
    ("z-image", "vae"): 83_819_683,
    ("sd15", "unet"): 859_520_964,
    ("sd15", "text_encoder"): 123_060_480,
    ("sd15", "vae"): 83_653_863,
    ("sd21", "unet"): 865_910_724,
    ("sd21", "text_encoder"): 340_387_840,
    ("sd21", "vae"): 83_653_863,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
    ("sdxl", "vae"): 83_653_863,
    ("flux2-klein", "transformer"): 3_875_544_576,
    ("flux2-klein", "text_encoder"): 4_022_468_096,
    ("flux2-klein", "vae"): 84_046_115,
    ("qwen-image", "transformer"): 20_430_401_088,
    ("qwen-image", "text_encoder"): 8_292_166_656,
    ("qwen-image", "vae"): 126_892_531,
}


Build = Callable[[Architecture], Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    models_dir = tmp_path_factory.mktemp("models")
    return {architecture: config_folder(architecture, models_dir) for architecture in get_args(Architecture)}


@pytest.fixture(scope="module")
def warned() -> list[str]:
    """Return what diffusers has logged while components were built."""
    return []


@pytest.fixture(scope="module")
def build(folders: dict[Architecture, Path], warned: list[str]) -> Build:
    """Return a function that builds an architecture's pipeline once, without weights; tests must not change it."""
    handler = logging.Handler()
    handler.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]

    @cache
    def built(architecture: Architecture) -> Any:  # noqa: ANN401 - a diffusers pipeline
        folder = folders[architecture]
        diffusers.utils.logging.add_handler(handler)
        try:
            loaded = {name: on_meta(folder / name, *row) for name, row in components(folder).items()}
        finally:
            diffusers.utils.logging.remove_handler(handler)
        return DiffusionPipeline.from_pretrained(str(folder), local_files_only=True, **loaded)

    return built


def on_meta(folder: Path, library: str, cls: str) -> Any:  # noqa: ANN401
    made = class_named(library, cls)
    with torch.device("meta"):
        if library == "diffusers":
            return made.from_config(made.load_config(str(folder), local_files_only=True))
        return made(made.config_class.from_pretrained(str(folder), local_files_only=True))


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_every_component_has_the_published_number_of_parameters(
    architecture: Architecture, folders: dict[Architecture, Path], build: Build
) -> None:
    pipeline = build(architecture)
    found = {
        (architecture, name): sum(each.numel() for each in getattr(pipeline, name).parameters())
        for name in components(folders[architecture])
    }
    assert found == {key: count for key, count in PUBLISHED.items() if key[0] == architecture}


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_the_pipeline_takes_every_part_of_the_folder(architecture: Architecture, build: Build) -> None:
    assert set(TOKENIZERS[architecture]) <= set(build(architecture).components)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("model_id", "scheduler", "values"),
    [
        ("z-image-turbo", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("z-image", "FlowMatchEulerDiscreteScheduler", {"shift": 6.0}),
        ("sd-turbo", "EulerDiscreteScheduler", {"timestep_spacing": "trailing", "prediction_type": "epsilon"}),
        ("sdxl-turbo", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing", "beta_end": 0.012}),
        ("lcm-sd15", "LCMScheduler", {"beta_schedule": "scaled_linear"}),
    ],
)
def test_the_row_of_a_model_sets_its_scheduler(
    model_id: str, scheduler: str, values: dict[str, object], build: Build
) -> None:
    row = catalogue_row(model_id)
    assert row.architecture
    shared = build(row.architecture)
    pipeline = type(shared)(**shared.components)
    set_scheduler(pipeline, row)
    assert type(pipeline.scheduler).__name__ == scheduler
    assert {name: pipeline.scheduler.config[name] for name in values} == values
    if model_id == "sd-turbo":
        pipeline.scheduler.set_timesteps(4)
        assert pipeline.scheduler.timesteps.tolist() == [999.0, 749.0, 499.0, 249.0]


@pytest.mark.parametrize("architecture", ["z-image", "flux2-klein"])
def test_qwen3_tokens_and_chat_template(architecture: Architecture, folders: dict[Architecture, Path]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folders[architecture] / "tokenizer"), local_files_only=True)
    assert len(tokenizer) == 151_669
    assert tokenizer("a photo of a cat, 猫").input_ids == [64, 6548, 315, 264, 8251, 11, 10236, 234, 104]
    messages = [{"role": "user", "content": "hi"}]
    text = {
        thinking: tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
        for thinking in (True, False)
    }
    assert text[True] == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert text[False] == text[True] + "<think>\n\n</think>\n\n"
    cut = tokenizer("cat " * 900, padding="max_length", max_length=512, truncation=True)
    assert len(cut.input_ids) == sum(cut.attention_mask) == 512
    assert tokenizer("cat", padding="max_length", max_length=512).input_ids[-1] == tokenizer.pad_token_id == 151_643


def test_qwen_image_has_the_tokens_of_qwen2_5(folders: dict[Architecture, Path]) -> None:
    folder = folders["qwen-image"] / "tokenizer"
    tokenizer = transformers.Qwen2Tokenizer.from_pretrained(str(folder), local_files_only=True)
    assert len(tokenizer) == 151_665
    assert tokenizer("<|im_start|>a photo of a cat, 猫").input_ids[:3] == [151_644, 64, 6548]
    assert tokenizer("<think>").input_ids != [151_667]


@pytest.mark.parametrize(
    ("architecture", "folder", "pad"),
    [("sd15", "tokenizer", 49_407), ("sd21", "tokenizer", 0), ("sdxl", "tokenizer", 49_407), ("sdxl", "tokenizer_2", 0)],
)
def test_clip_tokens(architecture: Architecture, folder: str, pad: int, folders: dict[Architecture, Path]) -> None:
    path = str(folders[architecture] / folder)
    for cls in (transformers.CLIPTokenizer, transformers.AutoTokenizer):
        tokenizer = cls.from_pretrained(path, local_files_only=True)
        assert (len(tokenizer), tokenizer.model_max_length, tokenizer.pad_token_id) == (49_408, 77, pad)
        assert tokenizer("A photo of a CAT,").input_ids == [49_406, 320, 1125, 539, 320, 2368, 267, 49_407]
        cut = tokenizer("cat " * 200, padding="max_length", truncation=True).input_ids
        assert (len(cut), cut[0], cut[-1]) == (77, 49_406, 49_407)
        assert tokenizer("cat", padding="max_length", truncation=True).input_ids[3:] == [pad] * 74


def test_no_configuration_names_an_unknown_value(build: Build, warned: list[str]) -> None:
    # Diffusers logs values that a class does not take, such as those of another version.
    for architecture in get_args(Architecture):
        build(architecture)
    assert "not expected" not in "".join(warned)
