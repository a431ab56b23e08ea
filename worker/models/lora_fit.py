"""Count how many layers of a LoRA the model has: the libraries load a foreign LoRA without an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidInput
from worker.models.libraries import Pipeline

_OF_LAYER = re.compile(
    r"(?P<layer>.+?)[._](?:"
    r"lora_(?:A|B|down|up|mid|magnitude_vector|linear_layer)|lora\.(?:down|up)|lokr_\w+|hada_\w+|dora_scale|alpha"
    r")(?:\..*)?"
)
"""A tensor's name: its layer, and which part of the adapter of that layer it is."""


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
    options = {"weight_name": file.name, "local_files_only": True}
    layers = _layers(pipeline, file, options)
    pipeline.load_lora_weights(str(file.parent), adapter_name=label, **options)
    fit = LoraFit(len(layers), _adapted_layers(pipeline, label))
    if not fit.fitting:
        raise InvalidInput(f"none of its {len(layers)} layers is one of this model: it belongs to another model")
    return fit


def _layers(pipeline: Pipeline, file: Path, options: dict[str, object]) -> set[str]:
    """Return the layers that the file changes, by the names that the libraries convert them to."""
    state = pipeline.lora_state_dict(str(file.parent), **options)
    names = state[0] if isinstance(state, tuple) else state
    found = {match["layer"] for name in names if (match := _OF_LAYER.fullmatch(name))}
    if not found:
        raise InvalidInput("it holds no LoRA layers")
    return found


def _adapted_layers(pipeline: Pipeline, label: str) -> int:
    """Count the model's layers that have this adapter."""
    components = (getattr(pipeline, name, None) for name in pipeline._lora_loadable_modules)
    modules = (module for component in components if component is not None for module in component.modules())
    return sum(any(label in getattr(module, part, ()) for part in ("lora_A", "lokr_w1", "hada_w1_a")) for module in modules)
