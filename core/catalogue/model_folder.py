"""Inspect a model folder: its marker file, its diffusers index, and its missing files.

The marker is written last, so that a folder that was only partly written is never used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.catalogue.weight_damage import POINTER, damage_of, index_damage, is_pointer
from core.catalogue.weight_names import choose_set, parse_weight_name

MARKER_FILE = "imagefarm.json"
MARKER_FORMAT: Literal[1] = 1
INDEX_FILE = "model_index.json"
UNUSED_COMPONENTS = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Components that no model family loads."""
_WEIGHTLESS = ("Scheduler", "Tokenizer", "Processor", "FeatureExtractor")
"""Parts of class names of components without weights."""


class Marker(BaseModel):
    """Content and source of a folder. `dtype` may name a quantised form; `size_bytes` counts all files."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = MARKER_FORMAT
    model: str
    origin: Literal["built", "hub", "folder"]
    source: str
    revision: str | None = None
    dtype: str
    size_bytes: int
    made_at: float


def read_marker(directory: Path) -> Marker | None:
    """Return the folder's marker; None when it is missing or of a format that this version does not know."""
    try:
        return Marker.model_validate_json((directory / MARKER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def write_marker(directory: Path, marker: Marker) -> None:
    """Write the marker. Call this after all other files of the folder are written."""
    (directory / MARKER_FILE).write_text(json.dumps(marker.model_dump(), indent=1) + "\n", encoding="utf-8")


def size_of(directory: Path) -> int:
    """Sum the bytes of all files below, following links."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def read_index(directory: Path) -> dict[str, object]:
    """Return the folder's model_index.json; empty when it is missing or unreadable."""
    try:
        data = json.loads((directory / INDEX_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def pipeline_class(directory: Path) -> str:
    """Return the diffusers class that the folder was saved from; empty when the index does not name one."""
    return str(read_index(directory).get("_class_name", ""))


def components(directory: Path) -> dict[str, tuple[str, str]]:
    """Map name to (library, class) of every component that is used and has weights."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in read_index(directory).items():
        if name.startswith("_") or name in UNUSED_COMPONENTS or not isinstance(value, list) or len(value) != 2:
            continue
        library, cls = value
        if isinstance(library, str) and isinstance(cls, str) and not _is_weightless(cls):
            found[name] = (library, cls)
    return found


def _is_weightless(cls: str) -> bool:
    return any(word in cls for word in _WEIGHTLESS)


def missing_files(directory: Path) -> list[str]:
    """List in plain sentences what is missing from the folder or damaged in it; empty when it can be loaded.

    Reads names, sizes and headers only, which takes milliseconds for any size of weights.
    """
    if not directory.is_dir():
        return [f"the folder {directory} does not exist"]
    if not read_index(directory):
        return [f"{directory} has no readable {INDEX_FILE}: it is not in diffusers' layout"]
    problems: list[str] = []
    for name in components(directory):
        if found := _missing_from_component(directory / name):
            problems.append(f"{directory} is incomplete: {found}")
        else:
            problems += [f"{directory} is damaged: {found}" for found in _damaged_weights(directory / name)]
    return problems + [f"{directory} is damaged: {found}" for found in _pointers(directory)]


def _damaged_weights(folder: Path) -> list[str]:
    """Return what is wrong with the weight files that would be loaded, each with its path in the model's folder."""
    found = []
    for each in choose_set((path.name for path in folder.iterdir()), None):
        damage = index_damage(folder / each.name) if each.is_index else damage_of(folder / each.name)
        if damage:
            found.append(f"{folder.name}/{each.name} {damage}")
    return found


def _pointers(directory: Path) -> list[str]:
    """Return the other files, such as a tokenizer's, that are git-LFS pointers."""
    others = (
        path for path in sorted(directory.glob("*/*")) if parse_weight_name(path.name) is None or path.suffix == ".json"
    )
    return [f"{path.parent.name}/{path.name} {POINTER}" for path in others if is_pointer(path)]


def _missing_from_component(folder: Path) -> str:
    """Return what is missing from one component, or "". One complete set of weight files is enough."""
    if not (folder / "config.json").is_file():
        return f"{folder.name}/config.json is missing"
    shards_missing = ""
    for index in sorted(folder.glob("*.index*.json")):
        if missing := _missing_shards(index):
            shards_missing = f"{folder.name}/{missing[0]} is missing ({len(missing)} in all)"
        else:
            return ""
    single = [path for path in weight_files(folder) if "-of-" not in path.name]
    if single:
        return ""
    return shards_missing or f"{folder.name} has no weight files"


def weight_files(folder: Path) -> list[Path]:
    """List the weight files directly in a component's folder."""
    names = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin"})
    return [path for path in names if path.is_file()]


def _missing_shards(index: Path) -> list[str]:
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return [index.name]
    return sorted(name for name in shards if not (index.parent / name).is_file())
