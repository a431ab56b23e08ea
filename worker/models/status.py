"""State of each catalogue model on this machine, as `imagefarm models list` shows it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.catalogue import CatalogueModel, LocatedWeights, ModelPaths, load_catalogue, locate
from core.catalogue.model_folder import read_marker, size_of
from core.catalogue.presence import problems_of
from core.errors import RenderError
from worker.models.missing_tensors import missing_tensors, unusable_files


@dataclass(frozen=True)
class ModelStatus:
    """`origin` and `directory` are empty when the weights are not on disk; `missing` then states what to do.

    `problems`: what is wrong with weights that are on disk and cannot be loaded, such as a damaged file.
    `dtype` is known for copies in the models directory. A model that is built locally counts as present.
    """

    model: CatalogueModel
    here: bool
    origin: str = ""
    directory: Path | None = None
    size_bytes: int = 0
    dtype: str = ""
    missing: str = ""
    problems: tuple[str, ...] = ()


def list_models(model_paths: ModelPaths, catalogue: Iterable[CatalogueModel] | None = None) -> list[ModelStatus]:
    """Return the status of all models of a catalogue, in its order; without one, of the shipped models."""
    return [model_status(model, model_paths) for model in catalogue or load_catalogue()]


def model_status(model: CatalogueModel, model_paths: ModelPaths) -> ModelStatus:
    """Return one model's status."""
    try:
        located = locate(model, model_paths)
    except RenderError as error:
        if model.built_locally:
            return ModelStatus(model, here=True, origin="built at first use")
        return ModelStatus(model, here=False, missing=error.message, problems=tuple(problems_of(model, model_paths)))
    if problems := _problems(located, model_paths):
        return ModelStatus(model, here=False, missing=problems[0], problems=problems)
    if located.files:
        size = sum(path.stat().st_size for path in set(located.files.values()))
        return ModelStatus(model, here=True, origin=located.origin, directory=located.directory, size_bytes=size)
    marker = read_marker(located.directory)
    return ModelStatus(
        model=model,
        here=True,
        origin=located.origin,
        directory=located.directory,
        size_bytes=marker.size_bytes if marker else size_of(located.directory),
        dtype=marker.dtype if marker else "",
    )


def _problems(located: LocatedWeights, model_paths: ModelPaths) -> tuple[str, ...]:
    """Return what a load of the weights would refuse."""
    if located.files:
        return tuple(unusable_files(located.files, located.directory, model_paths.models_dir))
    return tuple(missing_tensors(located.directory, model_paths.models_dir))
