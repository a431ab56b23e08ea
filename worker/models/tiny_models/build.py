"""Build a catalogue row's tiny random-weight model, seeded and identical on every run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, ModelMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from core.catalogue import load_catalogue
from core.catalogue.presence import lora_folder

WEIGHT_NAME = "pytorch_lora_weights.safetensors"
ADAPTER = "tiny"


def build_lora(pipeline: DiffusionPipeline, directory: Path, seed: int = 0, rank: int = 2) -> Path:
    """Write `directory`/pytorch_lora_weights.safetensors for the pipeline's denoiser; its effect is not zero."""
    name = "transformer" if hasattr(pipeline, "transformer") else "unet"
    denoiser = getattr(pipeline, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = _random_layers(denoiser, rank)
    pipeline.save_lora_weights(str(directory), **{f"{name}_lora_layers": layers})
    return directory / WEIGHT_NAME


def _random_layers(denoiser: ModelMixin, rank: int) -> dict[str, torch.Tensor]:
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v"])
    denoiser.add_adapter(config, ADAPTER)
    try:
        for key, parameter in denoiser.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(parameter, std=0.2)
        layers: dict[str, torch.Tensor] = get_peft_model_state_dict(denoiser, adapter_name=ADAPTER)
        return {key: tensor.clone() for key, tensor in layers.items()}
    finally:
        denoiser.delete_adapters(ADAPTER)


TINY_MODELS = {
    "demo": "z_image:tiny_z_image",
    "z-image-turbo": "z_image:tiny_z_image",
    "z-image": "z_image:tiny_z_image",
    "sd-turbo": "stable_diffusion:tiny_sd_turbo",
    "sdxl-turbo": "stable_diffusion:tiny_sdxl_turbo",
    "lcm-sd15": "stable_diffusion:tiny_sd1",
    "tiny-sd": "stable_diffusion:tiny_sd1",
    "sd15": "stable_diffusion:tiny_sd1",
    "sd21": "stable_diffusion:tiny_sd_turbo",
    "sdxl": "stable_diffusion:tiny_sdxl_turbo",
    "flux2-klein-4b": "flux2:tiny_flux2_klein",
    "qwen-image": "qwen_image:tiny_qwen_image",
}
"""Catalogue id -> module and function that builds the tiny model; imported lazily, so that `demo` is built quickly."""


def build_tiny_model(model_id: str, directory: Path, seed: int = 0) -> Path:
    """Write the fp32 tiny model of `model_id` and its LoRAs under `directory`, which may exist; return `directory`.

    The same seed gives the same bytes. Raise KeyError for a model without a tiny one. Torch's global generator is restored.
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
    module, _, function = TINY_MODELS[model_id].partition(":")
    maker: Callable[[], DiffusionPipeline] = getattr(import_module(f"worker.models.tiny_models.{module}"), function)
    return maker
