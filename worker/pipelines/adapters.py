"""Load the LoRA adapters that requests name from one directory, and switch them between forward passes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from core.catalogue.weight_damage import damage_of
from core.errors import InvalidInput
from core.render import LoraRequest
from worker.models.libraries import Pipeline
from worker.models.lora_fit import load_lora

log = logging.getLogger(__name__)


class Adapters:
    """The LoRA adapters of one pipeline.

    `directory` holds `<name>.safetensors`. Requested names are compared with its files, never made into paths.
    """

    def __init__(self, pipeline: Pipeline, directory: Path) -> None:
        self._pipeline = pipeline
        self._directory = directory
        self._labels: dict[str, str] = {}
        self._warnings: dict[str, str] = {}
        self._active: tuple[LoraRequest, ...] | None = ()

    def available(self) -> dict[str, Path]:
        """Return name -> file of every adapter in the directory now."""
        return {path.stem: path for path in sorted(self._directory.glob("*.safetensors"))}

    def check(self, loras: Sequence[LoraRequest]) -> None:
        """Raise InvalidInput, naming the available adapters, for one that does not exist."""
        if not loras:
            return
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise InvalidInput("This model takes no LoRA adapters.", field="loras")
        known = self.available()
        for lora in loras:
            if lora.name not in known:
                names = ", ".join(known) or "none"
                raise InvalidInput(f"There is no LoRA '{lora.name}' here. Available: {names}.", field="loras")

    def warnings(self, loras: Sequence[LoraRequest]) -> tuple[str, ...]:
        """Return a sentence for each of these adapters that was activated and fits the model in part."""
        return tuple(self._warnings[lora.name] for lora in loras if lora.name in self._warnings)

    def activate(self, loras: tuple[LoraRequest, ...]) -> None:
        """Make forward passes use exactly these adapters; with none, output is bit-identical to the bare model's."""
        if loras == self._active:
            return
        if not loras or self._active is None:
            self._pipeline.unload_lora_weights()
            self._labels.clear()
        self._active = None  # Unknown if the next lines raise.
        if loras:
            labels = [self._load(lora.name) for lora in loras]
            self._pipeline.set_adapters(labels, adapter_weights=[lora.scale for lora in loras])
        self._active = loras

    def _load(self, name: str) -> str:
        if name not in self._labels:
            label = f"request_{len(self._labels)}"  # PEFT makes module names from labels: no dots allowed.
            file = self.available()[name]
            if damage := damage_of(file):
                raise InvalidInput(f"The LoRA '{name}' cannot be used: {file.name} {damage}.", field="loras")
            try:
                fit = load_lora(self._pipeline, file, label)
            except Exception as error:
                # Loaders raise many types, such as for a broken file or for keys of another model.
                raise InvalidInput(f"The LoRA '{name}' cannot be used with this model: {error}", field="loras") from error
            self._warnings.pop(name, None)
            if warning := fit.warning(name):
                log.warning(warning)
                self._warnings[name] = warning
            self._labels[name] = label
        return self._labels[name]
