"""Answers kept in the models directory about which tensors weights lack; finding one loads libraries and takes seconds.

`worker.models.missing_tensors` finds the answers. Every process reads them, so that all choose the same model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.catalogue.catalogue import Component
from core.catalogue.configs.folder import CONFIGS
from core.catalogue.model_folder import components
from core.catalogue.weight_headers import TensorInfo, safetensors_header
from core.catalogue.weight_names import choose_set
from core.ids import new_id

_LIBRARIES = ("diffusers", "transformers")
_FOLDER = "missing-tensors"


@dataclass(frozen=True)
class FolderCheck:
    """One component of a folder in diffusers' layout. `stored`: rows of its files' headers; `kept`: where the answer is."""

    folder: Path
    library: str
    cls: str
    stored: Mapping[str, TensorInfo]
    kept: Path

    def sentence(self, missing: list[str]) -> str:
        """Return what is wrong with the model's folder when the component lacks these tensors."""
        return f"{self.folder.parent} is damaged: {lacking_sentence(self.folder, self.cls, missing)}"


def folder_checks(directory: Path, models_dir: Path) -> Iterator[FolderCheck]:
    """Yield the components that can be checked: those of the two libraries whose files are readable safetensors."""
    for name, (library, cls) in components(directory).items():
        folder = directory / name
        with suppress(OSError, ValueError):  # a damaged file is reported as such
            stored = stored_tensors(folder, None) if library in _LIBRARIES else {}
            if stored:
                kept = models_dir / CONFIGS / _FOLDER / f"{_key(folder, library, cls, stored)}.json"
                yield FolderCheck(folder, library, cls, stored, kept)


def file_answer(component: str, path: Path, configs: Path, models_dir: Path) -> Path:
    """Return where the answer about a single file is kept. Raises OSError when the file is gone."""
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    identity = f"{component} {path.resolve()} {size} {changed} {configs.name} {_versions()}"
    return models_dir / CONFIGS / _FOLDER / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"


def known_problems(directory: Path, files: Mapping[Component, Path], models_dir: Path) -> list[str] | None:
    """Return what is known to be missing, in plain sentences; None while a file was not looked at since it changed.

    `files`: single files by component, whose configurations are in `directory`; empty for a folder of weights.
    """
    if files:
        with suppress(OSError):  # a file that is gone is reported as such
            answers = [read_answer(file_answer(name, path, directory, models_dir)) for name, path in files.items()]
            found = [sentence.removesuffix(".") for answer in answers for sentence in answer or []]
            return found or (None if None in answers else [])
        return []
    checks = [(check, read_answer(check.kept)) for check in folder_checks(directory, models_dir)]
    found = [check.sentence(missing) for check, missing in checks if missing]
    return found or (None if any(missing is None for _, missing in checks) else [])


def lacking_sentence(folder: Path, cls: str, missing: list[str]) -> str:
    """Return what is wrong with the weights of a component that lack these tensors."""
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    files = [each.name for each in choose_set((path.name for path in folder.iterdir()), None)]
    place = folder / files[0] if len(files) == 1 else folder
    return (
        f"The weights in {place} lack the tensor {missing[0]}{more} of {cls}: they are damaged or belong to another model. "
        "Download them again."
    )


def stored_tensors(folder: Path, variant: str | None) -> dict[str, TensorInfo]:
    """Return the tensors of the safetensors files that would be loaded; empty for pickles."""
    names = [path.name for path in folder.iterdir()]
    files = [each.name for each in choose_set(names, variant) if not each.is_index]
    if not all(file.endswith(".safetensors") for file in files):
        return {}
    return {name: info for file in files for name, info in safetensors_header(folder / file).tensors.items()}


def read_answer(file: Path) -> list[str] | None:
    """Return a kept answer; None when there is none."""
    with suppress(OSError, ValueError):
        if isinstance(known := json.loads(file.read_text(encoding="utf-8")), list):
            return [str(each) for each in known]
    return None


def keep_answer(file: Path, missing: list[str]) -> None:
    """Write the answer whole or not at all: without it the next call finds it again."""
    part = file.with_name(f".{file.name}.{new_id()}.part")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps(missing), encoding="utf-8")
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def _key(folder: Path, library: str, cls: str, stored: Mapping[str, TensorInfo]) -> str:
    hashed = hashlib.sha256(f"{library} {cls} {_versions()}".encode())
    hashed.update((folder / "config.json").read_bytes())
    rows = sorted((name, *info) for name, info in stored.items())
    hashed.update(json.dumps(rows).encode())
    return hashed.hexdigest()[:32]


def _versions() -> str:
    found = []
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found.append(version(name))
    return " ".join(found)
