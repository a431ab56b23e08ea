"""The layers that adapters put in place of a model's own: take them out and put them back without loading anything."""

from __future__ import annotations

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from worker.models.libraries import Pipeline


class AdapterLayers:
    """The adapter layers of one pipeline; each holds the model's own layer and the weights of all loaded adapters."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._layers: list[tuple[nn.Module, str, nn.Module]] = []
        self._attached = True

    def collect(self) -> None:
        """Find the layers of the attached adapters."""
        self._layers = [
            (parent, name, child)
            for component in self._components()
            for parent in list(component.modules())
            if not isinstance(parent, BaseTunerLayer)
            for name, child in parent.named_children()
            if isinstance(child, BaseTunerLayer)
        ]

    def attach(self) -> None:
        """Put the adapter layers in their places."""
        if not self._attached:
            self._replace(bare=False)

    def detach(self) -> None:
        """Put the model's own layers in their places."""
        if self._attached:
            self._replace(bare=True)

    def clear(self) -> None:
        """Forget layers that were removed from the model."""
        self._layers, self._attached = [], True

    def bytes_of(self, label: str) -> int:
        """Return the size of one adapter's weights."""
        return sum(
            parameter.nbytes
            for _, _, layer in self._layers
            for name, parameter in layer.named_parameters()
            if label in name.split(".")
        )

    def _replace(self, *, bare: bool) -> None:
        for parent, name, layer in self._layers:
            assert isinstance(layer, BaseTunerLayer)  # noqa: S101 -- collected as such
            parent._modules[name] = layer.get_base_layer() if bare else layer
        self._attached = not bare

    def _components(self) -> list[nn.Module]:
        found = (getattr(self._pipeline, name, None) for name in self._pipeline._lora_loadable_modules)
        return [component for component in found if isinstance(component, nn.Module)]
