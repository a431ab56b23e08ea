"""Load the LoRA adapters that requests name, keep the last few, and switch them between forward passes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.catalogue import CatalogueModel
from core.catalogue.loras import LoraFile, LoraLibrary
from core.errors import InvalidInput
from core.render import LoraRequest
from worker.device.faults import is_broken_device, is_out_of_memory
from worker.models.libraries import Pipeline
from worker.models.lora_fit import load_lora
from worker.pipelines.adapter_layers import AdapterLayers

log = logging.getLogger(__name__)

DEFAULT_BYTES = 2 * 10**9
"""Memory for adapters that stay loaded where the device's free memory does not tell."""

_Identity = tuple[str, tuple[int, int]]
"""Path and stamp of a file: a changed file is another adapter."""


@dataclass(frozen=True)
class LoadedAdapter:
    """`warning`: a sentence when it fits the model in part, or "". `hash`: the short hash of its tensors."""

    label: str
    bytes: int
    warning: str
    hash: str


class Adapters:
    """The LoRA adapters of one pipeline.

    Requested names are compared with the files of `library`, never made into paths. Adapters stay loaded up to `max_bytes`;
    those that were not used for the longest time are deleted first, the active ones never. While none is active, the
    model's own layers are in their places, so that other requests get the bare model's bits and its compiled blocks.
    """

    def __init__(
        self, pipeline: Pipeline, model: CatalogueModel, library: LoraLibrary, max_bytes: int = DEFAULT_BYTES
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        self._library = library
        self._max_bytes = max_bytes
        self._layers = AdapterLayers(pipeline)
        self._loaded: dict[_Identity, LoadedAdapter] = {}  # Ordered by their last use.
        self._chosen: dict[str, LoraFile] = {}  # Looked up when a request arrives, not for each pass.
        self._by_name: dict[str, LoadedAdapter] = {}
        self._count = 0
        self.active: tuple[LoraRequest, ...] = ()
        """What forward passes use now; change it by `activate`."""
        self._outdated = False

    def check(self, loras: Sequence[LoraRequest]) -> None:
        """Raise InvalidInput for one that does not exist, is damaged, or belongs to another model."""
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise InvalidInput(f"{self._model.id} takes no LoRAs.", field="loras", code="loras_not_offered")
        chosen = {lora.name: self._library.choose(lora.name, self._model) for lora in loras}
        if any(self._chosen.get(name) not in (None, file) for name, file in chosen.items()):
            self._outdated = True  # A file was replaced: the next pass loads it, although the names are the same.
        self._chosen |= chosen

    def warnings(self, loras: Sequence[LoraRequest]) -> tuple[str, ...]:
        """Return a sentence for each of these adapters that was activated and fits the model in part."""
        return tuple(found.warning for lora in loras if (found := self._by_name.get(lora.name)) and found.warning)

    def hashes(self, loras: Sequence[LoraRequest]) -> dict[str, str]:
        """Return name -> short hash of those of these adapters that were activated."""
        return {lora.name: found.hash for lora in loras if (found := self._by_name.get(lora.name)) and found.hash}

    def activate(self, loras: tuple[LoraRequest, ...]) -> None:
        """Make forward passes use exactly these adapters; with none, output is bit-identical to the bare model's."""
        if loras == self.active and not (loras and self._outdated):
            return
        if not loras:
            self._layers.detach()
            self.active = ()
            return
        try:
            self._activate(loras)
        except BaseException:
            self._unload_all()  # What is loaded now is unknown.
            raise
        self.active, self._outdated = loras, False

    def unload(self) -> None:
        """Free the memory of all adapters; the next request that names one loads it from its file again."""
        if self._loaded:
            self._unload_all()

    def _activate(self, loras: tuple[LoraRequest, ...]) -> None:
        self._layers.attach()
        if any(lora.name not in self._chosen for lora in loras):
            self.check(loras)
        used = [self._load(self._chosen[lora.name]) for lora in loras]
        self._by_name |= {lora.name: adapter for lora, adapter in zip(loras, used, strict=True)}
        self._evict({adapter.label for adapter in used})
        self._pipeline.set_adapters([adapter.label for adapter in used], adapter_weights=[lora.scale for lora in loras])

    def _load(self, file: LoraFile) -> LoadedAdapter:
        identity = (str(file.path), file.stamp)
        if (kept := self._loaded.pop(identity, None)) is None:
            kept = self._load_file(file)
        self._loaded[identity] = kept
        return kept

    def _load_file(self, file: LoraFile) -> LoadedAdapter:
        label = f"request_{self._count}"  # PEFT makes module names from labels: no dots allowed.
        self._count += 1
        try:
            fit = load_lora(self._pipeline, file.path, label)
            digest = self._library.hashes(file).short
        except Exception as error:
            if is_out_of_memory(error) or is_broken_device(error):
                raise
            # Loaders raise many types, such as for a broken file or for keys of another model.
            raise InvalidInput(
                f"The LoRA '{file.name}' cannot be used with this model: {error}", field="loras", code="wrong_lora_family"
            ) from error
        if warning := fit.warning(file.name):
            log.warning(warning)
        self._layers.collect()
        return LoadedAdapter(label, self._layers.bytes_of(label), warning, digest)

    def _evict(self, used: set[str]) -> None:
        total = sum(adapter.bytes for adapter in self._loaded.values())
        for identity, adapter in list(self._loaded.items()):
            if total <= self._max_bytes:
                return
            if adapter.label not in used:
                self._pipeline.delete_adapters(adapter.label)
                del self._loaded[identity]
                total -= adapter.bytes

    def _unload_all(self) -> None:
        self._layers.attach()
        self._pipeline.unload_lora_weights()
        self._layers.clear()
        self._loaded.clear()
        self.active = ()
