"""The layouts in which LoRA files are published, made from the one that diffusers writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Layout = Callable[[Path, Path], None]


def _layers(source: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the layer's name in the model -> (down, up)."""
    tensors = load_file(source)
    halves = {
        name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B."): tensor for name, tensor in tensors.items()
    }
    names = sorted({name.partition(".lora_")[0] for name in halves})
    return {name.partition(".")[2]: (halves[f"{name}.lora_A.weight"], halves[f"{name}.lora_B.weight"]) for name in names}


def kohya(source: Path, target: Path) -> None:
    """Write flattened names with an alpha for each layer, and the trainer's metadata."""
    tensors: dict[str, torch.Tensor] = {}
    for layer, (down, up) in _layers(source).items():
        name = f"lora_unet_{layer.replace('.', '_')}"
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up * 2.0}
        tensors[f"{name}.alpha"] = torch.tensor(down.shape[0] / 2.0)
    save_file(tensors, target, {"ss_output_name": "ink"})


def comfyui(source: Path, target: Path) -> None:
    """Write ComfyUI's prefix."""
    tensors: dict[str, torch.Tensor] = {}
    for layer, (down, up) in _layers(source).items():
        tensors[f"diffusion_model.{layer}.lora_A.weight"] = down
        tensors[f"diffusion_model.{layer}.lora_B.weight"] = up
    save_file(tensors, target)


def peft(source: Path, target: Path) -> None:
    """Write what PEFT's save_pretrained does: names without the component, and a configuration with alpha."""
    tensors: dict[str, torch.Tensor] = {}
    rank = 1
    for layer, (down, up) in _layers(source).items():
        rank = down.shape[0]
        tensors[f"base_model.model.{layer}.lora_A.weight"] = down
        tensors[f"base_model.model.{layer}.lora_B.weight"] = up * 2.0
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target)
    (target.parent / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": rank / 2}), encoding="utf-8")
