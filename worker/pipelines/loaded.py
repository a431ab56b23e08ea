"""What a family needs of a pipeline that has been loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core.catalogue import CatalogueModel
from worker.pipelines.adapters import Adapters


@dataclass(frozen=True)
class Loaded:
    """`device` computes the steps. `text_device` encodes prompts: another one where the memory tier keeps it apart."""

    pipeline: Any
    model: CatalogueModel
    device: torch.device
    text_device: torch.device
    adapters: Adapters
