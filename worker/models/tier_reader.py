"""Load components in the form that a memory tier needs, converting once if there is no copy on disk."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from core.catalogue import ModelPaths
from core.errors import Conflict
from worker.device.dtypes import dtype_name
from worker.device.machine import GIGABYTE
from worker.memory.estimate import component_bytes
from worker.memory.packing import OnFraction
from worker.memory.sizes import ComponentSize, ModelSizes, chosen_files, role_of
from worker.memory.tiers import Tier, packed_form
from worker.memory.weight_files import layouts
from worker.models.components import load_component
from worker.models.folders import Contents, atomic_folder, check_space, remove_drafts
from worker.models.packed_copy import PackedCopy, copy_folder, fingerprint, is_current
from worker.models.pull.convert import convert_folder
from worker.models.pull.progress import Meter
from worker.models.pull.repository import select_in_folder

log = logging.getLogger(__name__)


def native_folder(source: Path, dtype: torch.dtype, model_paths: ModelPaths, model_id: str, on_convert: OnFraction) -> Path:
    """Return the folder to load a component from: its own if its weights can be mapped as they are, else a copy.

    The copy is in the models directory and is made now unless it exists; `on_convert` gets 0..1 of that. If it cannot be
    made, the log states why, and every load reads the source and converts it in memory.
    """
    if not needs_copy(source, dtype):
        return source
    copy = model_paths.models_dir / model_id / f"{source.name}-{dtype_name(dtype)}"
    if is_current(copy, source):
        return copy
    try:
        remove_drafts(copy.parent)
        size = copy_bytes(source, dtype)
        check_space(copy, size, f"Keeping {source.name} in {dtype_name(dtype)}")
        log.info("converting %s into %s, once: %.1f GB", source.name, copy, size / GIGABYTE)
        on_convert(0.0)
        _make(copy, source, dtype, model_id, on_convert)
    except (Conflict, OSError, SafetensorError) as error:
        log.warning("%s of %s is converted again at every load: %s", source.name, model_id, error)
        return source
    return copy


def needs_copy(source: Path, dtype: torch.dtype) -> bool:
    """Return whether most of the weights are pickled, or in another float dtype at least as wide as `dtype`.

    Narrower ones are not copied: reading fewer bytes and widening them is no slower than reading a copy.
    """
    other = total = 0
    for file in chosen_files(source):
        for stored, size in _stored_bytes(file):
            total += size
            other += size if stored is None or (stored != dtype and stored.itemsize >= dtype.itemsize) else 0
    return other > total / 2


def copy_bytes(source: Path, dtype: torch.dtype) -> int:
    """Return an upper bound of the copy's weight bytes; the dtype in pickles is unknown, so they count in full."""
    rows = [row for file in chosen_files(source) for row in _stored_bytes(file)]
    return sum(size * dtype.itemsize // stored.itemsize if stored else size for stored, size in rows)


def _stored_bytes(file: Path) -> list[tuple[torch.dtype | None, int]]:
    """Return (dtype, bytes) of each float tensor; for a pickle one row without a dtype."""
    if file.suffix != ".safetensors":
        return [(None, file.stat().st_size)]
    return [(stored.dtype, stored.size) for stored in layouts(file).values() if stored.dtype.is_floating_point]


def _make(copy: Path, source: Path, dtype: torch.dtype, model_id: str, on_convert: OnFraction) -> None:
    """Convert one tensor at a time."""
    names = select_in_folder([path.name for path in source.iterdir() if path.is_file()], None)
    contents = Contents(model_id, "folder", source.name, dtype_name(dtype), fingerprint(source))
    total = sum(file.stat().st_size for file in chosen_files(source) if file.suffix in (".safetensors", ".bin"))
    meter = Meter("converting", total, lambda progress: on_convert(progress.done_bytes / progress.total_bytes))
    with atomic_folder(copy, contents) as draft:
        convert_folder(source, draft, names, dtype, meter)


@dataclass(frozen=True)
class CopiesToMake:
    """The copies that a load in this tier has to write, for a model with its components in `directory`."""

    directory: Path
    model_id: str
    tier: Tier
    dtype: torch.dtype
    model_paths: ModelPaths

    def size(self, sizes: ModelSizes) -> int:
        """Return the bytes still to be written; 0 once all copies exist, or if none is needed."""
        return sum(self._size_of(part) for part in sizes.components)

    def _size_of(self, part: ComponentSize) -> int:
        source, form = self.directory / part.name, packed_form(self.tier, part.role)
        if is_current(copy_folder(self.model_paths, self.model_id, part.name, form, self.dtype), source):
            return 0
        if form is not None:
            return component_bytes(part, form, dtype_name(self.dtype))
        return copy_bytes(source, self.dtype) if needs_copy(source, self.dtype) else 0


@dataclass(frozen=True)
class TierReader:
    """Reads components for a tier; `on_convert` gets the fraction of a conversion, 0..1."""

    model_id: str
    tier: Tier
    dtype: torch.dtype
    model_paths: ModelPaths
    on_convert: OnFraction

    def load(self, folder: Path, library: str, cls: str) -> torch.nn.Module:
        """Load one component on the CPU, in the tier's form."""
        form = packed_form(self.tier, role_of(folder.name))
        if form is None:
            return load_component(self._native(folder), library, cls, self.dtype)
        return PackedCopy(folder, library, cls, form, self.dtype, self.model_paths, self.model_id, self.on_convert).load()

    def _native(self, folder: Path) -> Path:
        return native_folder(folder, self.dtype, self.model_paths, self.model_id, self.on_convert)
