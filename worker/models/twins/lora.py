"""A tiny random LoRA adapter for a twin, written as the file that its pipeline's loader reads."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

WEIGHT_NAME = "pytorch_lora_weights.safetensors"


def build_lora(pipeline: DiffusionPipeline, directory: Path, seed: int = 0, rank: int = 2) -> Path:
    """Write `directory`/pytorch_lora_weights.safetensors for the pipeline's denoiser; its effect is not zero."""
    name = "transformer" if hasattr(pipeline, "transformer") else "unet"
    denoiser = getattr(pipeline, name)
    denoiser.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v"]), "twin")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for key, parameter in denoiser.named_parameters():
                if "lora_" in key:
                    torch.nn.init.normal_(parameter, std=0.2)
        layers = get_peft_model_state_dict(denoiser, adapter_name="twin")
        pipeline.save_lora_weights(str(directory), **{f"{name}_lora_layers": layers})
    finally:
        denoiser.delete_adapters("twin")
    return directory / WEIGHT_NAME
