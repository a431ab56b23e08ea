"""Is this model here, and where? Looks at directories only: no torch, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.catalogue.completeness import pipeline_class, what_is_missing
from core.catalogue.marker import read_marker
from core.catalogue.model import CatalogueModel, Lora
from core.catalogue.places import Places
from core.errors import RenderError

Origin = Literal["models_dir", "folder", "hub_cache"]


@dataclass(frozen=True)
class Located:
    """Weights that can be loaded. `loras` are files, in the order of the catalogue row."""

    directory: Path
    origin: Origin
    revision: str | None
    loras: tuple[Path, ...] = ()


def locate(model: CatalogueModel, places: Places) -> Located:
    """Where the model's weights are: the farm's own copy, else the named folder, else the hub's cache.

    Raises RenderError `model_unavailable` with what is missing and the command that brings it.
    """
    problems: list[str] = []
    for directory, origin, revision in _candidates(model, places):
        lacking = what_is_wrong(model, directory)
        loras = [lora_file_near(lora, directory, places) for lora in model.loras]
        lacking += [f"the LoRA {lora.repo} is missing" for lora, file in zip(model.loras, loras, strict=True) if not file]
        if not lacking:
            return Located(directory, origin, revision, tuple(file for file in loras if file))
        problems += lacking
    raise RenderError(_message(model, problems), code="model_unavailable")


def is_present(model: CatalogueModel, places: Places) -> bool:
    """Whether a worker could load the model now; a model that is built locally always can."""
    if model.built_locally:
        return True
    try:
        locate(model, places)
    except RenderError:
        return False
    return True


def _candidates(model: CatalogueModel, places: Places) -> Iterator[tuple[Path, Origin, str | None]]:
    own = places.weights(model.id)
    if marker := read_marker(own):
        yield own, "models_dir", marker.revision
    if model.id in places.folders:
        yield places.folders[model.id], "folder", None
    if model.weights.repo and (snapshot := places.hub_snapshot(model.weights.repo, model.weights.revision)):
        yield snapshot, "hub_cache", snapshot.name


def what_is_wrong(model: CatalogueModel, directory: Path) -> list[str]:
    """What the folder lacks to be that model, in plain sentences."""
    problems = what_is_missing(directory)
    found = pipeline_class(directory)
    if found and model.pipeline not in ("auto", found):
        problems.append(f"{directory} holds a {found}, but {model.id} is a {model.pipeline}")
    return problems


def lora_folder(weights: Path, repo: str) -> Path:
    """The folder, beside a model's components, of a LoRA that belongs to the model."""
    return weights / "loras" / repo.replace("/", "--")


def lora_file_near(lora: Lora, weights: Path, places: Places) -> Path | None:
    """The LoRA's file beside those weights, else in the hub's cache."""
    snapshot = places.hub_snapshot(lora.repo, None)
    for folder in (lora_folder(weights, lora.repo), snapshot):
        file = folder / lora.weight_name if folder else None
        if file and file.is_file():
            return file
    return None


def _message(model: CatalogueModel, problems: list[str]) -> str:
    if model.built_locally:
        return f"{model.id} has not been built yet: start a worker, or run `imagefarm models pull {model.id}`."
    reason = (
        "; ".join(problems) or "they are neither in the models directory, nor in a folder you named, nor in the hub's cache"
    )
    return f"The weights of {model.id} are not here: {reason}. Bring them with `imagefarm models pull {model.id}`."
