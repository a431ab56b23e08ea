"""Copy a model in diffusers' layout into safetensors of one dtype, one tensor at a time from mapped sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from core.catalogue.model_folder import missing_files
from core.catalogue.weight_names import WeightName, choose_set
from core.errors import RenderError
from worker.device.dtypes import DTYPES
from worker.memory.weight_files import Layout, TensorFile, layouts, tensors
from worker.models.pull.progress import Meter
from worker.models.pull.repository import select


def convert(source: Path, target: Path, dtype: str, variant: str | None, meter: Meter) -> None:
    """Fill the empty folder `target`. File names lose their variant; pickles are read with weights_only.

    Raise RenderError `model_unavailable` when the result would not load.
    """
    index = json.loads((source / "model_index.json").read_text(encoding="utf-8"))
    paths = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file()]
    by_folder: dict[str, list[str]] = {}
    for path in select(paths, index, variant):
        folder, _, name = path.rpartition("/")
        by_folder.setdefault(folder, []).append(name)
    for folder, names in by_folder.items():
        convert_folder(source / folder, target / folder, names, DTYPES[dtype], meter)
    _copy_loras(source, target)
    if problems := missing_files(target):
        raise RenderError(f"The converted copy is incomplete: {'; '.join(problems)}", code="model_unavailable")


def weight_bytes(source: Path, variant: str | None) -> int:
    """Return the bytes of weights that a conversion reads."""
    index = json.loads((source / "model_index.json").read_text(encoding="utf-8"))
    paths = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    chosen = [path for path in select(paths, index, variant) if path.endswith((".safetensors", ".bin"))]
    return sum((source / path).stat().st_size for path in chosen)


def convert_folder(source: Path, target: Path, names: list[str], dtype: torch.dtype, meter: Meter) -> None:
    """Convert one component from `source` into `target`. `names`: one set of weights, and all other files."""
    target.mkdir(parents=True, exist_ok=True)
    weights = {found.name: found for found in choose_set(names, None)}
    for name in names:
        if name not in weights:
            shutil.copyfile(source / name, target / name)
    renamed: dict[str, str] = {}
    total = 0
    for found in (found for found in weights.values() if not found.is_index):
        renamed[found.name] = _safetensors_name(found)
        total += _convert_file(source / found.name, target / renamed[found.name], dtype, meter)
    for found in (found for found in weights.values() if found.is_index):
        _convert_index(source / found.name, target / _safetensors_name(found), renamed, total)


def _safetensors_name(found: WeightName) -> str:
    """Return the name that diffusers or transformers loads: transformers renames `pytorch_model` pickles to `model`."""
    name = found.plain.replace(".bin", ".safetensors")
    return "model" + name.removeprefix("pytorch_model") if name.startswith("pytorch_model") else name


def _convert_file(source: Path, target: Path, dtype: torch.dtype, meter: Meter) -> int:
    """Write one file and return the bytes of its tensors."""
    detail, left = f"{source.parent.name}/{source.name}", source.stat().st_size
    meter.add(0, detail)
    cast = {name: _cast(layout, dtype) for name, layout in layouts(source).items()}
    with TensorFile(target, cast) as file:
        for name, tensor in tensors(source):
            file.put(name, tensor.to(cast[name].dtype))
            meter.add(tensor.nbytes, detail)
            left -= tensor.nbytes
    meter.add(left, detail)
    return sum(layout.size for layout in cast.values())


def _cast(layout: Layout, dtype: torch.dtype) -> Layout:
    """Return the layout with floats in `dtype`; other dtypes stay."""
    return Layout(dtype, layout.shape) if layout.dtype.is_floating_point else layout


def _convert_index(source: Path, target: Path, renamed: Mapping[str, str], total: int) -> None:
    data = json.loads(source.read_text(encoding="utf-8"))
    data["weight_map"] = {tensor: renamed[file] for tensor, file in data["weight_map"].items()}
    data["metadata"] = {"total_size": total}
    target.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _copy_loras(source: Path, target: Path) -> None:
    """Copy LoRAs unconverted: they are small, and are fused in the dtype that is loaded."""
    if (source / "loras").is_dir():
        shutil.copytree(source / "loras", target / "loras")
