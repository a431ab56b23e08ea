"""Load components in the form that a memory tier keeps them in, converting once where that form is not on disk yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from core.catalogue import Places
from worker.memory.forms import form_folder, is_made, load_form, save_form
from worker.memory.quantize import quantize
from worker.memory.sizes import role_of
from worker.memory.tiers import PACKED_FORMS, PackedForm, Tier
from worker.models.components import class_named, load_component
from worker.models.native_copy import native_folder


@dataclass(frozen=True)
class TierReader:
    """`on_convert` is called before each conversion, which takes as long as reading the original weights."""

    model_id: str
    tier: Tier
    dtype: torch.dtype
    places: Places
    on_convert: Callable[[], None]

    def load(self, folder: Path, library: str, cls: str) -> torch.nn.Module:
        """One component on the CPU, in the tier's form."""
        form = self._packed_form(folder.name)
        if form is None:
            return load_component(self._native(folder), library, cls, self.dtype)
        packed = form_folder(self.places, self.model_id, folder.name, form, self.dtype)
        if not is_made(packed, folder):
            self.on_convert()
            module = quantize(load_component(folder, library, cls, self.dtype), form, self.dtype)
            save_form(module, packed, folder, self.model_id, form)
        return load_form(packed, folder, class_named(library, cls), form, self.dtype)

    def _native(self, folder: Path) -> Path:
        return native_folder(folder, self.dtype, self.places, self.model_id, self.on_convert)

    def _packed_form(self, component: str) -> PackedForm | None:
        role = role_of(component)
        kept = {"denoiser": self.tier.denoiser, "text": self.tier.text, "vae": "native"}[role]
        return next((form for form in PACKED_FORMS if form == kept), None)
