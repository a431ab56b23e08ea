"""All published names of full-size files are converted; tensors without data stand for the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES

from core.catalogue.catalogue import Architecture
from core.catalogue.component_keys import component_keys
from core.catalogue.configs import config_folder
from core.catalogue.model_folder import components
from tests.integration.single_files.original_names import (
    Tensors,
    below,
    clip,
    ldm_unet,
    ldm_vae,
    open_clip,
    z_image_transformer,
)
from worker.models.component_source import FolderSource
from worker.models.packed_copy import empty_module
from worker.models.single_files.class_tensors import convert

DENOISER, VAE = "model.diffusion_model.", "first_stage_model."
PARTS = {"z-image": 3, "sd15": 3, "sd21": 3, "sdxl": 4}
ARCHITECTURES: tuple[Architecture, ...] = ("z-image", "sd15", "sd21", "sdxl")
MARKS = {"sd15": "v1", "sd21": "v2", "sdxl": "xl_base"}


def published(architecture: str, states: dict[str, Tensors]) -> Tensors:
    """Return a checkpoint with all components."""
    vae = below("vae." if architecture == "z-image" else VAE, ldm_vae(states["vae"]))
    if architecture == "z-image":
        text = below("text_encoders.qwen3_4b.transformer.model.", states["text_encoder"])
        return below(DENOISER, z_image_transformer(states["transformer"])) | text | vae
    unet = below(DENOISER, ldm_unet(states["unet"], layers_per_block=2))
    if architecture == "sd21":
        return unet | vae | below("cond_stage_model.model.", open_clip(states["text_encoder"], extra_layer=True))
    if architecture == "sd15":
        return unet | vae | below("cond_stage_model.transformer.", clip(states["text_encoder"]))
    first = below("conditioner.embedders.0.transformer.", clip(states["text_encoder"]))
    return unet | vae | first | below("conditioner.embedders.1.model.", open_clip(states["text_encoder_2"]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_of_the_full_size_is_found(architecture: Architecture, tmp_path: Path) -> None:
    configs = config_folder(architecture, tmp_path)
    rows = {name: row for name, row in components(configs).items() if (configs / name).is_dir()}
    modules = {name: empty_module(FolderSource(configs / name, *row)) for name, row in rows.items()}
    assert len(modules) == PARTS[architecture]
    with torch.device("meta"):
        stored = published(architecture, {name: dict(module.state_dict()) for name, module in modules.items()})
    if architecture in MARKS:
        assert CHECKPOINT_KEY_NAMES[MARKS[architecture]] in stored
    for name, module in modules.items():
        own = {own: stored[full] for own, full in component_keys(stored, name).items()}
        converted = convert(own, module)
        assert not converted.missing
        shapes = {key: tensor.shape for key, tensor in module.state_dict().items()}
        assert {key: tensor.shape for key, tensor in converted.tensors.items()} == shapes
