"""Load components in the form that a memory tier keeps them in, converting once where that form is not on disk yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from core.catalogue import Places
from worker.memory.packing import OnFraction
from worker.memory.sizes import role_of
from worker.memory.tiers import Tier, packed_form
from worker.models.components import load_component
from worker.models.native_copy import native_folder
from worker.models.packed_copy import PackedCopy


@dataclass(frozen=True)
class TierReader:
    """`on_convert` hears how far a conversion has come, which takes as long as reading the original weights, or longer."""

    model_id: str
    tier: Tier
    dtype: torch.dtype
    places: Places
    on_convert: OnFraction

    def load(self, folder: Path, library: str, cls: str) -> torch.nn.Module:
        """One component on the CPU, in the tier's form."""
        form = packed_form(self.tier, role_of(folder.name))
        if form is None:
            return load_component(self._native(folder), library, cls, self.dtype)
        return PackedCopy(folder, library, cls, form, self.dtype, self.places, self.model_id, self.on_convert).load()

    def _native(self, folder: Path) -> Path:
        return native_folder(folder, self.dtype, self.places, self.model_id, self.on_convert)
