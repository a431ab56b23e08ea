"""Load components in the form that a memory tier needs, converting once if there is no copy on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError

from core.catalogue import ModelPaths
from core.catalogue.weight_file import WeightFile
from core.errors import Conflict, RenderError
from worker.device.dtypes import dtype_name
from worker.device.machine import GIGABYTE
from worker.memory.estimate import component_bytes
from worker.memory.packing import OnFraction
from worker.memory.sizes import ComponentSize, ModelSizes, chosen_files, role_of
from worker.memory.tiers import Tier, packed_form
from worker.memory.weight_files import layouts
from worker.models.component_source import ComponentSource, FolderSource
from worker.models.components import load_component
from worker.models.folders import Contents, atomic_folder, check_space, remove_drafts
from worker.models.packed_copy import PackedCopy, copy_folder, fingerprint, is_current
from worker.models.pull.convert import convert_folder
from worker.models.pull.progress import Meter
from worker.models.pull.repository import select_in_folder
from worker.models.single_files import FileSource

log = logging.getLogger(__name__)


def native_folder(source: Path, dtype: torch.dtype, model_paths: ModelPaths, model_id: str, on_convert: OnFraction) -> Path:
    """Return the folder to load a component from: its own if its weights can be mapped as they are, else a copy.

    The copy is in the models directory and is made now unless it exists; `on_convert` gets 0..1 of that. If it cannot be
    made, the log states why, and every load reads the source and converts it in memory.
    """
    if not needs_copy(source, dtype):
        return source
    copy = copy_folder(model_paths, model_id, source.name, None, dtype)
    if is_current(copy, FolderSource(source, "", "")):
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
    return _is_mostly_other((row for file in chosen_files(source) for row in _stored_bytes(file)), dtype)


def _is_mostly_other(rows: Iterable[tuple[torch.dtype | None, int]], dtype: torch.dtype) -> bool:
    other = total = 0
    for stored, size in rows:
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
    contents = Contents(model_id, "folder", source.name, dtype_name(dtype), fingerprint(FolderSource(source, "", "")))
    total = sum(file.stat().st_size for file in chosen_files(source) if file.suffix in (".safetensors", ".bin"))
    meter = Meter("converting", total, lambda progress: on_convert(progress.done_bytes / progress.total_bytes))
    with atomic_folder(copy, contents) as draft:
        convert_folder(source, draft, names, dtype, meter)


@dataclass(frozen=True)
class CopiesToMake:
    """The copies that a load in this tier has to write, for a model with its components in `directory` or in `files`."""

    directory: Path
    model_id: str
    tier: Tier
    dtype: torch.dtype
    model_paths: ModelPaths
    files: Mapping[str, WeightFile] = field(default_factory=dict)

    def size(self, sizes: ModelSizes) -> int:
        """Return the bytes still to be written; 0 once all copies exist, or if none is needed."""
        return sum(self._size_of(part) for part in sizes.components)

    def _size_of(self, part: ComponentSize) -> int:
        form = packed_form(self.tier, part.role)
        source = _source(self.directory / part.name, "", "", self.files)
        if isinstance(source, FileSource) and source.stays_packed:
            return 0
        if is_current(copy_folder(self.model_paths, self.model_id, part.name, form, self.dtype), source):
            return 0
        if form is not None:
            return component_bytes(part, form, dtype_name(self.dtype))
        if isinstance(source, FileSource):
            needs = file_needs_copy(source, self.dtype)
            return component_bytes(part, "native", dtype_name(self.dtype)) if needs else 0
        return copy_bytes(source.config, self.dtype) if needs_copy(source.config, self.dtype) else 0


@dataclass(frozen=True)
class TierReader:
    """Reads components for a tier; `on_convert` gets the fraction of a conversion, 0..1.

    `files`: weight files by component, for models that are not in one folder. `compute`: the dtype that packed files are
    unpacked to, if it is not `dtype`.
    """

    model_id: str
    tier: Tier
    dtype: torch.dtype
    model_paths: ModelPaths
    on_convert: OnFraction
    files: Mapping[str, WeightFile] = field(default_factory=dict)
    compute: torch.dtype | None = None

    def load(self, folder: Path, library: str, cls: str) -> torch.nn.Module:
        """Load one component on the CPU, in the tier's form; files of a quantised form are loaded as they are."""
        form = packed_form(self.tier, role_of(folder.name))
        source = _source(folder, library, cls, self.files)
        if isinstance(source, FileSource):
            if source.stays_packed:
                return source.load(self.compute or self.dtype)
            if form is None and not file_needs_copy(source, self.dtype):
                return source.load(self.dtype)
        elif form is None:
            return load_component(self._native(folder), library, cls, self.dtype)
        return PackedCopy(source, form, self.dtype, self.model_paths, self.model_id, self.on_convert).load()

    def _native(self, folder: Path) -> Path:
        return native_folder(folder, self.dtype, self.model_paths, self.model_id, self.on_convert)


def _source(folder: Path, library: str, cls: str, files: Mapping[str, WeightFile]) -> ComponentSource:
    """Return the component's file where files are given, else its folder; raise RenderError where its file is missing."""
    if not files:
        return FolderSource(folder, library, cls)
    if folder.name not in files:
        raise RenderError(
            f"No file is given for the {folder.name.replace('_', ' ')} of the model: add one with its name in `files`.",
            code="model_unavailable",
        )
    return FileSource(folder.name, files[folder.name], folder.parent)


def file_needs_copy(source: FileSource, dtype: torch.dtype) -> bool:
    """Return whether most of the component's weights are in another float dtype at least as wide as `dtype`."""
    stored = source.weights().layouts.values()
    return _is_mostly_other(((each.dtype, each.size) for each in stored if each.dtype.is_floating_point), dtype)
