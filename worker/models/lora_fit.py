"""Count how many layers of a LoRA the model has: the libraries load a foreign LoRA without an error."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from core.catalogue.lora_facts import OF_LAYER
from core.errors import InvalidInput
from worker.models.libraries import Pipeline


@dataclass(frozen=True)
class LoraFit:
    """How many layers a LoRA changes (`layers`), and how many of them this model has (`fitting`)."""

    layers: int
    fitting: int

    def warning(self, name: str) -> str:
        """Return what to tell about a LoRA that fits in part; empty when it fits."""
        if self.fitting >= self.layers:
            return ""
        return (
            f"The LoRA '{name}' fits this model in part: {self.fitting} of its {self.layers} layers are used. "
            "It was probably trained for another model."
        )


def load_lora(pipeline: Pipeline, file: Path, label: str) -> LoraFit:
    """Load the file's adapter under that label. Raises InvalidInput when the model has none of its layers."""
    if (tensors := _with_prefix(pipeline, file)) is not None:
        layers = _layers(pipeline, dict(tensors), {})
        pipeline.load_lora_weights(tensors, adapter_name=label)
    else:
        options = {"weight_name": file.name, "local_files_only": True}
        layers = _layers(pipeline, str(file.parent), options)
        pipeline.load_lora_weights(str(file.parent), adapter_name=label, **options)
    fit = LoraFit(len(layers), _adapted_layers(pipeline, label))
    if not fit.fitting:
        raise InvalidInput(f"none of its {len(layers)} layers is one of this model: it belongs to another model")
    return fit


PEFT_PREFIX = "base_model.model."
_NAMED = ("transformer.", "unet.", "text_encoder", "lora_", "diffusion_model.", "lycoris_", "unet_", "model.")


def _with_prefix(pipeline: Pipeline, file: Path) -> dict[str, torch.Tensor] | None:
    """Return the tensors of PEFT's own layout by the names that the pipeline reads; None for every other layout.

    PEFT names layers as the model does, without the component. Its scale is in the `adapter_config.json` next to the file.
    """
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
        if any(name.startswith(_NAMED) or not OF_LAYER.fullmatch(name) for name in names):
            return None
        scale = _peft_scale(file)
        component = "transformer" if hasattr(pipeline, "transformer") else "unet"
        return {
            f"{component}.{name.removeprefix(PEFT_PREFIX)}": opened.get_tensor(name) * (scale if "lora_B" in name else 1.0)
            for name in names
        }


def _peft_scale(file: Path) -> float:
    """Return alpha / rank of PEFT's configuration; 1 without one, as the libraries take it."""
    config = file.parent / "adapter_config.json"
    if not config.is_file():
        return 1.0
    try:
        given = json.loads(config.read_text(encoding="utf-8"))
        rank, alpha = float(given["r"]), float(given["lora_alpha"])
        return alpha / (math.sqrt(rank) if given.get("use_rslora") else rank)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        raise InvalidInput(f"{config.name} next to it is not readable: correct or delete it") from None


def _layers(pipeline: Pipeline, source: str | dict[str, torch.Tensor], options: dict[str, object]) -> set[str]:
    """Return the layers that the file changes, by the names that the libraries convert them to."""
    state = pipeline.lora_state_dict(source, **options)
    names = state[0] if isinstance(state, tuple) else state
    found = {match["layer"] for name in names if (match := OF_LAYER.fullmatch(name))}
    if not found:
        raise InvalidInput("it holds no LoRA layers")
    return found


def _adapted_layers(pipeline: Pipeline, label: str) -> int:
    """Count the model's layers that have this adapter."""
    components = (getattr(pipeline, name, None) for name in pipeline._lora_loadable_modules)
    modules = (module for component in components if component is not None for module in component.modules())
    return sum(any(label in getattr(module, part, ()) for part in ("lora_A", "lokr_w1", "hada_w1_a")) for module in modules)
