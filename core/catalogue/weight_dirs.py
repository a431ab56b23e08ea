"""Weight files in folders like ComfyUI's `models/`: listed in place, matched into models, never written to."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.catalogue.catalogue import CatalogueModel, load_catalogue
from core.catalogue.matching import Match, base_of, complete, settings_of
from core.catalogue.recognise import known_file, size_text
from core.catalogue.user_rows import make_row
from core.catalogue.weight_file import WeightFile
from core.errors import InvalidInput
from core.settings import Settings

WeightFolder = Literal["diffusion_models", "checkpoints", "text_encoders", "vae", "loras", "upscale_models"]
"""A purpose of weight files, by ComfyUI's name of the folder."""
FOLDERS: Mapping[WeightFolder, tuple[str, ...]] = {
    "diffusion_models": ("diffusion_models", "unet"),
    "checkpoints": ("checkpoints",),
    "text_encoders": ("text_encoders", "clip"),
    "vae": ("vae",),
    "loras": ("loras",),
    "upscale_models": ("upscale_models",),
}
"""Purpose -> names of the folders that hold such files; `unet` and `clip` are older names."""
SUFFIXES = frozenset({".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin"})
_MAX_DEPTH = 4
_MAX_FILES = 10_000
_MAX_NAME = 60


@dataclass(frozen=True)
class FoundModel:
    """A model made of files in a weights folder."""

    row: CatalogueModel
    files: Match
    sentence: str


@dataclass(frozen=True)
class Unmatched:
    """A denoiser or checkpoint of which no model could be made, and why."""

    file: WeightFile
    reason: str


@dataclass(frozen=True)
class Scan:
    """Everything that the weights folders hold. `problems`: folders that cannot be read."""

    files: Mapping[WeightFolder, tuple[WeightFile, ...]]
    models: tuple[FoundModel, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()
    problems: tuple[str, ...] = ()


def files_in(settings: Settings, folder: WeightFolder) -> list[WeightFile]:
    """Return the files for one purpose in all weights folders, by path; those that are not understood are `unknown`."""
    found = {path: None for root in settings.weights_dirs for path in _paths(root, folder)}
    return [file for path in found if (file := _known(path)) is not None]


def scan(settings: Settings, others: Sequence[CatalogueModel] = ()) -> Scan:
    """Return the files of all purposes and the models that they make. `others`: the user's rows."""
    files = {folder: tuple(files_in(settings, folder)) for folder in FOLDERS}
    parts = [*files["text_encoders"], *files["vae"], *files["checkpoints"], *files["diffusion_models"]]
    shipped = {name for row in load_catalogue() for name in (row.id, *row.aliases)}
    ids = shipped | {name for row in others for name in (row.id, *row.aliases)}
    used = {path for row in others for path in row.files.values()}
    models: list[FoundModel] = []
    unmatched: list[Unmatched] = []
    for file in (*files["diffusion_models"], *files["checkpoints"]):
        if file.path in used:
            continue
        made = _model_of(file, parts, _root_of(file.path, settings), ids)
        if isinstance(made, FoundModel):
            ids.add(made.row.id)
            models.append(made)
        else:
            unmatched.append(made)
    return Scan(files, tuple(models), tuple(unmatched), tuple(_problems(settings)))


def _model_of(file: WeightFile, parts: list[WeightFile], root: Path | None, ids: set[str]) -> FoundModel | Unmatched:
    if file.kind not in ("component", "checkpoint") or not {"transformer", "unet"} & set(file.components):
        return Unmatched(file, file.sentence)
    match = complete(file, {}, parts, root)
    if missing := match.sentence():
        return Unmatched(file, f"{file.sentence} {missing}. Put it into text_encoders/ or vae/ of a weights folder.")
    base = base_of(file, match.architecture)
    name = file_id(file.path, root, ids)
    table = {
        "id": name,
        "title": file.path.stem,
        "about": f"{file.sentence} {base.reason[0].upper()}{base.reason[1:]}.",
        "base": base.row,
        "files": {component: str(each.path) for component, each in match.files.items()},
        **settings_of(file, base),
    }
    try:
        row = make_row(table, file.path.parent)
    except InvalidInput as error:
        return Unmatched(file, f"{file.sentence} It cannot be used: {error.message}.")
    return FoundModel(row, match, str(table["about"]))


def file_id(path: Path, root: Path | None, taken: set[str]) -> str:
    """Return a model id made from a file's name, with digits of its path where another model has that name already."""
    name = slug(path.stem)
    if name not in taken:
        return name
    place = path.relative_to(root) if root else path
    return f"{name}-{hashlib.sha256(str(place).encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"


def slug(text: str) -> str:
    """Return the text in the form of a model id: lower-case letters, digits, dots and hyphens."""
    plain = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    return plain[:_MAX_NAME].rstrip("-.") or "model"


def _root_of(path: Path, settings: Settings) -> Path | None:
    return next((root for root in settings.weights_dirs if root in path.parents), None)


def _known(path: Path) -> WeightFile | None:
    try:
        return known_file(path)
    except InvalidInput:
        return None  # It was removed between the listing and now.


def models_folder(root: Path) -> Path:
    """Return the folder whose subfolders hold the files: `root`, or its `models` when ComfyUI's own folder was named."""
    names = {name for folder in FOLDERS.values() for name in folder}
    inner = root / "models"
    return inner if inner.is_dir() and not any((root / name).is_dir() for name in names) else root


def _paths(root: Path, folder: WeightFolder) -> list[Path]:
    base = models_folder(root)
    found: list[Path] = []
    for name in FOLDERS[folder]:
        found += _walk(base / name)
    return found[:_MAX_FILES]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield weight files below, following links, but no folder twice and none too deep."""
    seen: set[tuple[int, int]] = set()
    for current, subfolders, names in os.walk(folder, followlinks=True):
        here = Path(current)
        try:
            state = here.stat()
        except OSError:
            state = None
        if state is None or (state.st_dev, state.st_ino) in seen or len(here.relative_to(folder).parts) > _MAX_DEPTH:
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".") and (here / name).is_file():
                yield here / name


def _problems(settings: Settings) -> Iterator[str]:
    for root in settings.weights_dirs:
        if not root.is_dir():
            yield f"IMAGEFARM_WEIGHTS_DIRS names {root}, which is not a folder."
        elif not any((models_folder(root) / name).is_dir() for names in FOLDERS.values() for name in names):
            known = ", ".join(f"{name}/" for names in FOLDERS.values() for name in names)
            yield f"IMAGEFARM_WEIGHTS_DIRS names {root}, which has none of the folders {known}."


def state_of(settings: Settings) -> tuple[object, ...]:
    """Return a value that changes when files are added to the weights folders, removed or replaced."""
    state: list[object] = []
    for root in settings.weights_dirs:
        for folder in FOLDERS:
            for path in _paths(root, folder):
                try:
                    found = path.stat()
                except OSError:
                    continue
                state.append((str(path), found.st_size, found.st_mtime_ns))
    return tuple(state)


def line_of(file: WeightFile) -> str:
    """Return one line about a file: its path, what it is, and its size, which sentences about known files have already."""
    what = file.sentence.removeprefix(f"{file.path.name} ")
    return f"{file.path}: {what}" if file.kind != "unknown" else f"{file.path} ({size_text(file.size_bytes)}): {what}"
