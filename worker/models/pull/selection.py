"""Which of a repository's files a pull takes: what the pipeline loads, once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from core.catalogue.completeness import INDEX, UNUSED
from core.catalogue.weight_names import choose_set

OTHER_WEIGHTS = frozenset({".msgpack", ".onnx", ".onnx_data", ".h5", ".ckpt", ".pt", ".pth", ".gguf", ".xml", ".pb"})
"""Weights for programs that are not ours."""


def select(paths: Iterable[str], index: Mapping[str, object], variant: str | None) -> list[str]:
    """Paths to take, given the content of the repository's model_index.json."""
    used = {name for name, value in index.items() if isinstance(value, list) and value[0] and name not in UNUSED}
    by_folder: dict[str, list[str]] = {}
    chosen = [INDEX]
    for path in map(PurePosixPath, paths):
        if len(path.parts) == 2 and path.parts[0] in used:
            by_folder.setdefault(path.parts[0], []).append(path.name)
        elif len(path.parts) == 1 and path.name.upper().startswith("LICENSE"):
            chosen.append(path.name)
    for folder, names in sorted(by_folder.items()):
        chosen += [f"{folder}/{name}" for name in select_in_folder(names, variant)]
    return chosen


def select_in_folder(names: Iterable[str], variant: str | None) -> list[str]:
    """Files of one component: one set of weights, and everything that is no weights."""
    names = sorted(names)
    weights = [found.name for found in choose_set(names, variant)]
    return [*(name for name in names if not _is_weights(name)), *weights]


def _is_weights(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix in OTHER_WEIGHTS or bool(choose_set([name], None)) or ".index." in name
