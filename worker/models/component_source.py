"""Where a component's weights come from: a folder in the layout of diffusers, or one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from core.catalogue.model_folder import weight_files
from worker.memory.weight_source import FolderWeights, WeightSource
from worker.models.components import load_component


class ComponentSource(Protocol):
    """`name`: the component's. `config`: folder of its config.json. `cls`: its class of diffusers or transformers."""

    @property
    def name(self) -> str:
        """Return the component's name in its pipeline."""
        ...

    @property
    def config(self) -> Path:
        """Return the folder that holds its config.json."""
        ...

    @property
    def library(self) -> str:
        """Return `diffusers` or `transformers`."""
        ...

    @property
    def cls(self) -> str:
        """Return the name of its class."""
        ...

    def files(self) -> list[Path]:
        """Return the files whose change makes copies of the weights outdated."""
        ...

    def weights(self) -> WeightSource:
        """Return the stored weights, raising RenderError when tensors are missing from a file."""
        ...

    def load(self, dtype: torch.dtype) -> nn.Module:
        """Load the component unpacked on the CPU."""
        ...


@dataclass(frozen=True)
class FolderSource:
    """A component's folder in a model's folder."""

    config: Path
    library: str
    cls: str

    @property
    def name(self) -> str:
        """Return the folder's name, which is the component's."""
        return self.config.name

    def files(self) -> list[Path]:
        """Return weights and configuration."""
        return [*weight_files(self.config), self.config / "config.json"]

    def weights(self) -> WeightSource:
        """Return the files that a load uses; names are checked when they are loaded."""
        return FolderWeights(self.config)

    def load(self, dtype: torch.dtype) -> nn.Module:
        """Load through the library's own loader."""
        return load_component(self.config, self.library, self.cls, dtype)
