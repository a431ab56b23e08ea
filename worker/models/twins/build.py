"""Build the twin of a catalogue model: seeded, saved as `save_pretrained` saves, identical on every run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from core.catalogue import load_catalogue
from core.catalogue.presence import lora_folder
from worker.models.twins.flux2 import flux2_klein_twin
from worker.models.twins.lora import build_lora
from worker.models.twins.stable_diffusion import sd1_twin, sd_turbo_twin, sdxl_turbo_twin
from worker.models.twins.z_image import z_image_twin

TWINS: dict[str, Callable[[], DiffusionPipeline]] = {
    "demo": z_image_twin,
    "z-image-turbo": z_image_twin,
    "z-image": z_image_twin,
    "sd-turbo": sd_turbo_twin,
    "sdxl-turbo": sdxl_turbo_twin,
    "lcm-sd15": sd1_twin,
    "tiny-sd": sd1_twin,
    "flux2-klein-4b": flux2_klein_twin,
}
"""Catalogue id -> the function that makes its twin."""


def build_twin(model_id: str, directory: Path, seed: int = 0) -> Path:
    """Write the fp32 twin of `model_id` and of its LoRAs under `directory`, which may exist; returns `directory`.

    Same seed, same bytes. KeyError when no twin is known for the model. Leaves torch's global generator as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = TWINS[model_id]()
    pipeline.save_pretrained(str(directory), safe_serialization=True)
    for index, lora in enumerate(load_catalogue().get(model_id).loras):
        build_lora(pipeline, lora_folder(directory, lora.repo), seed + index)
    return directory
