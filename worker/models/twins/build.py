"""Build the twin of a catalogue model: seeded, saved as `save_pretrained` saves, identical on every run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from core.catalogue import load_catalogue
from core.catalogue.presence import lora_folder
from worker.models.twins.lora import build_lora

TWINS = {
    "demo": "z_image:z_image_twin",
    "z-image-turbo": "z_image:z_image_twin",
    "z-image": "z_image:z_image_twin",
    "sd-turbo": "stable_diffusion:sd_turbo_twin",
    "sdxl-turbo": "stable_diffusion:sdxl_turbo_twin",
    "lcm-sd15": "stable_diffusion:sd1_twin",
    "tiny-sd": "stable_diffusion:sd1_twin",
    "flux2-klein-4b": "flux2:flux2_klein_twin",
}
"""Catalogue id -> module and function that makes its twin; imported when asked for, so that `demo` is built quickly."""


def build_twin(model_id: str, directory: Path, seed: int = 0) -> Path:
    """Write the fp32 twin of `model_id` and of its LoRAs under `directory`, which may exist; returns `directory`.

    Same seed, same bytes. KeyError when no twin is known for the model. Leaves torch's global generator as it was.
    """
    make = _maker(model_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = make()
    pipeline.save_pretrained(str(directory), safe_serialization=True)
    for index, lora in enumerate(load_catalogue().get(model_id).loras):
        build_lora(pipeline, lora_folder(directory, lora.repo), seed + index)
    return directory


def _maker(model_id: str) -> Callable[[], DiffusionPipeline]:
    module, _, function = TWINS[model_id].partition(":")
    maker: Callable[[], DiffusionPipeline] = getattr(import_module(f"worker.models.twins.{module}"), function)
    return maker
