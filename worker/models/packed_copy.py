"""Make packed copies of components once, then map them from disk at every load."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from core.catalogue import ModelPaths
from core.catalogue.model_folder import read_marker
from core.errors import Conflict
from worker.device.dtypes import dtype_name
from worker.device.machine import GIGABYTE
from worker.memory.packing import OnFraction, Packing
from worker.memory.quantize import quantize, with_empty_packed_layers
from worker.memory.tiers import PackedForm
from worker.memory.weight_files import Layout, TensorFile
from worker.models.component_source import ComponentSource
from worker.models.components import class_named
from worker.models.folders import Contents, atomic_folder, check_space, remove_drafts

log = logging.getLogger(__name__)
PACKED_FILE = "packed.safetensors"
PACKING_VERSION = "2"
"""Increase it when the packing changes: older copies are then made again."""


def copy_folder(model_paths: ModelPaths, model_id: str, component: str, form: PackedForm | None, dtype: torch.dtype) -> Path:
    """Return the folder of a component's copy in `form`, whether or not it exists; None: unpacked weights in that dtype."""
    name = "-".join(filter(None, (component, form, dtype_name(dtype))))
    return model_paths.models_dir / model_id / name


def fingerprint(source: ComponentSource) -> str:
    """Identify the weights that a copy is made from: names, sizes and times of their files and the configuration."""
    rows = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in source.files()]
    return f"{PACKING_VERSION}-{hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}"


def is_current(folder: Path, source: ComponentSource) -> bool:
    """Return whether a complete copy exists that was made from exactly these weights."""
    marker = read_marker(folder)
    return marker is not None and marker.revision == fingerprint(source)


def save_packed(module: nn.Module, draft: Path) -> None:
    """Write a packed component's weights into a draft folder; tied weights are written under each name."""
    state = module.state_dict()
    with TensorFile(
        draft / PACKED_FILE, {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()}
    ) as file:
        for name, tensor in state.items():
            file.put(name, tensor)


def empty_module(source: ComponentSource) -> nn.Module:
    """Build the component from its configuration, all weights on the meta device."""
    with init_empty_weights(include_buffers=False):
        return _from_config(class_named(source.library, source.cls), source.config)


def with_weights(module: nn.Module, weights: Mapping[str, torch.Tensor], frozen: bool = True) -> nn.Module:
    """Assign weights to an empty module and make it ready to render.

    `frozen`: without gradients, as packed layers must be. The libraries' loaders leave gradients on, and torch computes some
    linear layers in another order without them, even while gradients are off: equal images need equal flags.
    """
    module.load_state_dict(weights, assign=True, strict=True)
    return module.requires_grad_(not frozen).eval()


def _from_config(cls: Any, source: Path) -> nn.Module:  # noqa: ANN401
    module: nn.Module
    if hasattr(cls, "config_class") and cls.config_class is not None:
        module = cls(cls.config_class.from_pretrained(str(source), local_files_only=True))
    else:
        module = cls.from_config(cls.load_config(str(source), local_files_only=True))
    return module


@dataclass(frozen=True)
class PackedCopy:
    """A copy of a component in a form, None: unpacked in that dtype; `on_convert` gets the converted fraction, 0..1."""

    source: ComponentSource
    form: PackedForm | None
    dtype: torch.dtype
    model_paths: ModelPaths
    model_id: str
    on_convert: OnFraction

    def load(self) -> nn.Module:
        """Load it on the CPU; make the copy first unless it is current. If that fails, log why and pack in memory."""
        folder = copy_folder(self.model_paths, self.model_id, self.source.name, self.form, self.dtype)
        if not is_current(folder, self.source):
            packing = Packing(self._empty(), self.source.weights(), self.form, self.dtype)
            try:
                self._make(folder, packing)
            except (Conflict, OSError, SafetensorError) as error:
                log.warning("%s of %s is packed again at every load: %s", self.source.name, self.model_id, error)
                return self._in_memory(packing)
        return with_weights(self._empty(), load_file(folder / PACKED_FILE), frozen=self.form is not None)

    def _make(self, folder: Path, packing: Packing) -> None:
        remove_drafts(folder.parent)
        form = self.form or dtype_name(self.dtype)
        check_space(folder, packing.size, f"Keeping {self.source.name} in {form}")
        log.info("packing %s into %s, once: %.1f GB", self.source.name, folder, packing.size / GIGABYTE)
        self.on_convert(0.0)
        contents = Contents(self.model_id, "folder", self.source.name, form, fingerprint(self.source))
        with atomic_folder(folder, contents) as draft:
            if packing.is_supported:
                packing.write(draft / PACKED_FILE, self.on_convert)
            else:
                save_packed(self._read_whole(), draft)
        gc.collect()  # A component that was loaded whole is a large reference cycle.

    def _in_memory(self, packing: Packing) -> nn.Module:
        if not packing.is_supported:
            return self._read_whole()
        return with_weights(self._empty(), dict(packing.packed(self.on_convert)), frozen=self.form is not None)

    def _read_whole(self) -> nn.Module:
        """Read through the library's own loader, which knows all weight names; needs memory for the unpacked weights."""
        module = self.source.load(self.dtype)
        return quantize(module, self.form, self.dtype) if self.form else module

    def _empty(self) -> nn.Module:
        module = empty_module(self.source)
        return with_empty_packed_layers(module, self.form, self.dtype) if self.form else module
