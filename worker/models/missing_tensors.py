"""Find tensors that a model needs and a component's file lacks, from headers alone.

The answer for a file's header is kept in the models directory: to find it the libraries must be loaded, which takes
seconds. A file with an index is checked against that by `core.catalogue.weight_damage` without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from core.catalogue.catalogue import Component
from core.catalogue.recognise import known_file
from core.catalogue.tensor_checks import FolderCheck, file_answer, folder_checks, keep_answer, read_answer
from core.errors import RenderError


def missing_tensors(directory: Path, models_dir: Path) -> list[str]:
    """List in plain sentences what the components in a folder of diffusers' layout lack; empty where that is unknown.

    Pickles are not opened, and components of other libraries and damaged files are left to the load.
    """
    return [check.sentence(missing) for check in folder_checks(directory, models_dir) if (missing := _missing_from(check))]


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
    kept = file_answer(component, path, configs, models_dir)
    if (known := read_answer(kept)) is not None:
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
    keep_answer(kept, problems)
    return problems


def _missing_from(check: FolderCheck) -> list[str]:
    if (known := read_answer(check.kept)) is not None:
        return known
    try:
        from worker.models.components import tensors_missing_from
    except ImportError:
        return []  # Another check reports libraries that are not installed.
    try:
        missing = tensors_missing_from(check.folder, check.library, check.cls, check.stored)
    except Exception:  # noqa: BLE001 - such as a configuration that the class does not take: a load reports it
        return []
    keep_answer(check.kept, missing)
    return missing
