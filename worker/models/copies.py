"""What a first load would write: copies of weights in the form that a tier loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from core.catalogue import Places
from worker.memory.estimate import component_bytes
from worker.memory.forms import form_folder, is_made
from worker.memory.sizes import ComponentSize, ModelSizes
from worker.memory.tiers import Tier, packed_form
from worker.models.dtypes import dtype_name
from worker.models.native_copy import copy_bytes, needs_copy


@dataclass(frozen=True)
class CopiesToMake:
    """Of a model whose components lie in `directory`, for loading them in this tier."""

    directory: Path
    model_id: str
    tier: Tier
    dtype: torch.dtype
    places: Places

    def size(self, sizes: ModelSizes) -> int:
        """Bytes that are still to be written; 0 once all copies are there, or where none is needed."""
        return sum(self._size_of(part) for part in sizes.components)

    def _size_of(self, part: ComponentSize) -> int:
        source, form = self.directory / part.name, packed_form(self.tier, part.role)
        if is_made(form_folder(self.places, self.model_id, part.name, form, self.dtype), source):
            return 0
        if form is not None:
            return component_bytes(part, form, dtype_name(self.dtype))
        return copy_bytes(source, self.dtype) if needs_copy(source, self.dtype) else 0
