"""Components on disk in the form that a tier keeps: converted once, then read as fast as the disk gives them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import nn

from core.catalogue import Places
from core.catalogue.completeness import weight_files
from core.catalogue.marker import read_marker
from worker.memory.quantize import shape_for
from worker.memory.tensor_file import Layout, TensorFile
from worker.memory.tiers import PackedForm
from worker.models.dtypes import dtype_name
from worker.models.folders import Contents

FILE = "packed.safetensors"
REVISION = "2"
"""Raise it when the packing changes: older files are then made anew."""


def form_folder(places: Places, model_id: str, component: str, form: PackedForm | None, dtype: torch.dtype) -> Path:
    """Where a component in a form lies, once it has been made; None: plain weights in that dtype."""
    name = "-".join(filter(None, (component, form, dtype_name(dtype))))
    return places.models_dir / model_id / name


def fingerprint(folder: Path) -> str:
    """Names the weights that a form was made from: their files' names, sizes and times, the configuration's too."""
    files = [*weight_files(folder), folder / "config.json"]
    rows = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{REVISION}-{hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}"


def is_made(folder: Path, source: Path) -> bool:
    """Whether the form is there, whole, and made from these very weights."""
    marker = read_marker(folder)
    return marker is not None and marker.revision == fingerprint(source)


def contents(source: Path, model_id: str, form: PackedForm) -> Contents:
    """What the form's folder says of itself, for `whole_folder`."""
    return Contents(model_id, "folder", source.name, form, fingerprint(source))


def save_form(module: nn.Module, draft: Path) -> None:
    """Write a packed component's weights into a folder that is being made; those that are tied, under each name."""
    state = module.state_dict()
    with TensorFile(
        draft / FILE, {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()}
    ) as file:
        for name, tensor in state.items():
            file.put(name, tensor)


def load_form(folder: Path, source: Path, cls: Any, form: PackedForm, dtype: torch.dtype) -> nn.Module:  # noqa: ANN401
    """The component from its packed weights, mapped from the file; `cls` is its diffusers or transformers class."""
    return filled(empty_form(cls, source, form, dtype), load_file(folder / FILE))


def empty_form(cls: Any, source: Path, form: PackedForm, dtype: torch.dtype) -> nn.Module:  # noqa: ANN401
    """The component in the form, as its configuration in `source` says, all weights on the meta device."""
    with init_empty_weights(include_buffers=False):
        module = _from_config(cls, source)
    return shape_for(module, form, dtype)


def filled(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """An empty one with its weights, ready to render."""
    module.load_state_dict(weights, assign=True, strict=True)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def _from_config(cls: Any, source: Path) -> nn.Module:  # noqa: ANN401
    module: nn.Module
    if hasattr(cls, "config_class") and cls.config_class is not None:
        module = cls(cls.config_class.from_pretrained(str(source), local_files_only=True))
    else:
        module = cls.from_config(cls.load_config(str(source), local_files_only=True))
    return module
