"""A tiny random LoRA adapter for a twin, written as the file that its pipeline's loader reads."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DiffusionPipeline, ModelMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

WEIGHT_NAME = "pytorch_lora_weights.safetensors"
ADAPTER = "twin"


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
