"""A component in a packed form: made once from its files, then mapped from the copy at every load."""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from core.catalogue import Places
from core.errors import Conflict
from worker.memory.forms import FILE, contents, empty_form, filled, form_folder, is_made, load_form, save_form
from worker.memory.packing import OnFraction, Packing
from worker.memory.plan import GIGABYTE
from worker.memory.quantize import quantize
from worker.memory.tiers import PackedForm
from worker.models.components import class_named, load_component
from worker.models.folders import remove_drafts, whole_folder
from worker.models.pull.space import check_space

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackedCopy:
    """Of the component in the folder `source`; `on_convert` hears how much of it has been packed, 0..1."""

    source: Path
    library: str
    cls: str
    form: PackedForm
    dtype: torch.dtype
    places: Places
    model_id: str
    on_convert: OnFraction

    def load(self) -> nn.Module:
        """On the CPU. Where no copy can be kept, the log says why, and it is packed in memory at every load."""
        folder = form_folder(self.places, self.model_id, self.source.name, self.form, self.dtype)
        if not is_made(folder, self.source):
            packing = Packing(self._empty(), self.source, self.form, self.dtype)
            try:
                self._make(folder, packing)
            except (Conflict, OSError, SafetensorError) as error:
                log.warning("%s of %s is packed anew at every load: %s", self.source.name, self.model_id, error)
                return self._in_memory(packing)
        return load_form(folder, self.source, self._class, self.form, self.dtype)

    def _make(self, folder: Path, packing: Packing) -> None:
        remove_drafts(folder.parent)
        check_space(folder, packing.size, f"Keeping {self.source.name} in {self.form}")
        log.info("packing %s into %s, once: %.1f GB", self.source.name, folder, packing.size / GIGABYTE)
        self.on_convert(0.0)
        with whole_folder(folder, contents(self.source, self.model_id, self.form)) as draft:
            if packing.can_be_done:
                packing.write(draft / FILE, self.on_convert)
            else:
                save_form(self._read_whole(), draft)
        gc.collect()  # A component that was read whole is a circle of references, and as large as any.

    def _in_memory(self, packing: Packing) -> nn.Module:
        if not packing.can_be_done:
            return self._read_whole()
        return filled(self._empty(), dict(packing.packed(self.on_convert)))

    def _read_whole(self) -> nn.Module:
        """By the library's own loader, which knows every name that its weights may have; takes all of its own dtype."""
        return quantize(load_component(self.source, self.library, self.cls, self.dtype), self.form, self.dtype)

    def _empty(self) -> nn.Module:
        return empty_form(self._class, self.source, self.form, self.dtype)

    @property
    def _class(self) -> Any:  # noqa: ANN401 - a class of diffusers or transformers
        return class_named(self.library, self.cls)
