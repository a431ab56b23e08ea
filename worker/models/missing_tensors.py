"""Find tensors that a model needs and a component's file lacks, from headers alone.

The answer for a file's header is kept in the models directory: to find it the libraries must be loaded, which takes
seconds. A file with an index is checked against that by `core.catalogue.weight_damage` without them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.catalogue.catalogue import Component
from core.catalogue.configs.folder import CONFIGS
from core.catalogue.model_folder import components
from core.catalogue.recognise import known_file
from core.catalogue.weight_headers import TensorInfo, safetensors_header
from core.catalogue.weight_names import choose_set
from core.errors import RenderError
from core.ids import new_id

_LIBRARIES = ("diffusers", "transformers")
_FOLDER = "missing-tensors"


def missing_tensors(directory: Path, models_dir: Path) -> list[str]:
    """List in plain sentences what the components in a folder of diffusers' layout lack; empty where that is unknown.

    Pickles are not opened, and components of other libraries and damaged files are left to the load.
    """
    found = []
    for name, (library, cls) in components(directory).items():
        folder = directory / name
        with suppress(OSError, ValueError):  # a damaged file is reported as such
            missing = _missing_from(folder, library, cls, models_dir) if library in _LIBRARIES else []
            found += [f"{directory} is damaged: {sentence(folder, cls, missing)}"] if missing else []
    return found


def unusable_files(files: Mapping[Component, Path], configs: Path, models_dir: Path) -> list[str]:
    """List in plain sentences what a load of single files would refuse, such as a missing tensor.

    `files`: by component; `configs`: their configurations, in diffusers' layout. Weights are mapped, and matrices not read.
    """
    found: list[str] = []
    for component, path in files.items():
        with suppress(OSError):  # a file that is gone is reported as such
            found += [each.removesuffix(".") for each in _problems_of_file(component, path, configs, models_dir)]
    return found


def _problems_of_file(component: str, path: Path, configs: Path, models_dir: Path) -> list[str]:
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    identity = f"{component} {path.resolve()} {size} {changed} {configs.name} {_versions()}"
    kept = models_dir / CONFIGS / _FOLDER / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"
    if (known := _kept(kept)) is not None:
        return known
    try:
        from worker.models.single_files import FileSource
    except ImportError:
        return []  # Another check reports libraries that are not installed.
    problems = []
    try:
        FileSource(component, known_file(path), configs).check()
    except RenderError as error:
        problems = [error.message]
    except Exception:  # noqa: BLE001 - such as a configuration that the class does not take: a load reports it
        return []
    _keep(kept, problems)
    return problems


def sentence(folder: Path, cls: str, missing: list[str]) -> str:
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


def _missing_from(folder: Path, library: str, cls: str, models_dir: Path) -> list[str]:
    stored = stored_tensors(folder, None)
    if not stored:
        return []
    kept = models_dir / CONFIGS / _FOLDER / f"{_key(folder, library, cls, stored)}.json"
    if (known := _kept(kept)) is not None:
        return known
    try:
        from worker.models.components import tensors_missing_from
    except ImportError:
        return []  # Another check reports libraries that are not installed.
    try:
        missing = tensors_missing_from(folder, library, cls, stored)
    except Exception:  # noqa: BLE001 - such as a configuration that the class does not take: a load reports it
        return []
    _keep(kept, missing)
    return missing


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


def _kept(file: Path) -> list[str] | None:
    with suppress(OSError, ValueError):
        if isinstance(known := json.loads(file.read_text(encoding="utf-8")), list):
            return [str(each) for each in known]
    return None


def _keep(file: Path, missing: list[str]) -> None:
    """Write the answer whole or not at all: without it the next call finds it again."""
    part = file.with_name(f".{file.name}.{new_id()}.part")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps(missing), encoding="utf-8")
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
