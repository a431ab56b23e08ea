"""Find which models have their weights on this machine, and resolve `auto` to one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal

from core.catalogue.catalogue import PREFERRED, CatalogueModel, Component, Lora, noise_notice
from core.catalogue.farm_catalogue import FarmCatalogue, catalogue_of
from core.catalogue.matching import COMPONENTS, NAMES
from core.catalogue.model_folder import missing_files, pipeline_class, read_marker
from core.catalogue.model_paths import ModelPaths
from core.catalogue.recognise import known_file
from core.catalogue.tensor_checks import known_problems
from core.catalogue.weight_damage import damage_of
from core.errors import InvalidInput, RenderError
from core.settings import Settings

FALLBACK = "demo"


@dataclass(frozen=True)
class ResolvedModel:
    """`explanation` is for people: why this model was chosen and how to get another; empty when the settings name it."""

    model: CatalogueModel
    explanation: str = ""


def resolve_auto(settings: Settings) -> ResolvedModel:
    """Return the model that the settings name, of several the first. Weights of a named model are not checked.

    Raises InvalidInput for an unknown name.
    """
    catalogue = catalogue_of(settings)
    if settings.model != "auto":
        model = catalogue.get(settings.model_names[0])
        return ResolvedModel(model, noise_notice(model))
    return _best_present(catalogue, ModelPaths.of(settings))


def served_models(settings: Settings) -> tuple[CatalogueModel, ...]:
    """Return the models that a worker with these settings serves, the default first.

    Raises InvalidInput for an unknown name.
    """
    default = resolve_auto(settings).model
    catalogue = catalogue_of(settings)
    others = [catalogue.get(name) for name in settings.model_names[1:]]
    return tuple({model.id: model for model in (default, *others)}.values())


def _best_present(catalogue: FarmCatalogue, model_paths: ModelPaths) -> ResolvedModel:
    """Return the preferred model, else one of the user's, else the fallback; name those that cannot be loaded."""
    preferred = catalogue.get(PREFERRED)
    if is_present(preferred, model_paths):
        return ResolvedModel(preferred)
    passed = [_why_passed(preferred, model_paths)]
    for model in _own_models(catalogue):
        if is_present(model, model_paths):
            return ResolvedModel(model, f"{' '.join(passed)} So the farm runs your model {model.id}.")
        if problems_of(model, model_paths):
            passed.append(_why_passed(model, model_paths))
    fallback = catalogue.get(FALLBACK)
    return ResolvedModel(fallback, f"{' '.join(passed)} So the farm runs {fallback.id}. {noise_notice(fallback)}")


def _why_passed(model: CatalogueModel, model_paths: ModelPaths) -> str:
    problems = [problem.rstrip(".") for problem in problems_of(model, model_paths)]
    what = f"cannot be loaded ({'; '.join(problems)})" if problems else "are not on this machine"
    return f"The weights of {model.id} {what}."


def _own_models(catalogue: FarmCatalogue) -> list[CatalogueModel]:
    """Return the models that the user added, then those found in weights folders."""
    return [model for source in ("added", "found") for model in catalogue if catalogue.source_of(model.id) == source]


Origin = Literal["models_dir", "folder", "hub_cache", "files"]


@dataclass(frozen=True)
class LocatedWeights:
    """Weights that can be loaded. `loras` are files, in the order of the catalogue row.

    With `files` (component -> weight file, origin `files`), `directory` holds configurations and tokenizers only.
    """

    directory: Path
    origin: Origin
    revision: str | None
    loras: tuple[Path, ...] = ()
    files: Mapping[Component, Path] = field(default_factory=dict)


def locate(model: CatalogueModel, model_paths: ModelPaths) -> LocatedWeights:
    """Find the model's weights in the models directory, else in the named folder, else in the hub's cache.

    Raises RenderError `model_unavailable`, which names what is missing and the command that downloads it.
    """
    problems: list[str] = []
    for located in _tried(model, model_paths):
        if isinstance(located, LocatedWeights):
            return located
        problems += located
    raise RenderError(_message(model, problems), code="model_unavailable")


def problems_of(model: CatalogueModel, model_paths: ModelPaths) -> list[str]:
    """List in plain sentences why weights that are on this machine cannot be loaded; empty where some can, or none are.

    Tensors that the weights lack are listed when an earlier look at them found that.
    """
    tried = list(_tried(model, model_paths))
    if located := next((each for each in tried if isinstance(each, LocatedWeights)), None):
        return known_problems(located.directory, located.files, model_paths.models_dir) or []
    return [problem for each in tried if not isinstance(each, LocatedWeights) for problem in each]


def _tried(model: CatalogueModel, model_paths: ModelPaths) -> Iterator[LocatedWeights | list[str]]:
    """Yield the weights of each place that has some, or what is wrong with them."""
    if model.files:
        yield _file_problems(model) or _located_files(model, model_paths)
        return
    for directory, origin, revision in _candidates(model, model_paths):
        missing = folder_problems(model, directory)
        loras = [find_lora_file(lora, directory, model_paths) for lora in model.loras]
        missing += [f"the LoRA {lora.repo} is missing" for lora, file in zip(model.loras, loras, strict=True) if not file]
        missing += [f"the LoRA {file} {damage}" for file in loras if file and (damage := damage_of(file))]
        yield missing or LocatedWeights(directory, origin, revision, tuple(file for file in loras if file))


def _located_files(model: CatalogueModel, model_paths: ModelPaths) -> LocatedWeights | list[str]:
    # Imported here, since the configurations' package imports this one.
    folder: Path = import_module("core.catalogue.configs").config_folder(model.architecture, model_paths.models_dir)
    loras = [find_lora_file(lora, folder, model_paths) for lora in model.loras]
    if missing := [lora.repo for lora, file in zip(model.loras, loras, strict=True) if not file]:
        return [f"the LoRA {repo} is missing" for repo in missing]
    return LocatedWeights(folder, "files", None, tuple(file for file in loras if file), dict(model.files))


def _file_problems(model: CatalogueModel) -> list[str]:
    """List in plain sentences which files of a row are missing, damaged, or of another kind than the row says."""
    problems: list[str] = []
    for component in COMPONENTS[model.architecture] if model.architecture else ():
        if component not in model.files:
            problems.append(f"no file is named for the {NAMES[component]}")
    for component, path in model.files.items():
        try:
            file = known_file(path)
        except InvalidInput as error:
            problems.append(error.message.rstrip("."))
            continue
        if file.kind == "unknown":
            problems.append(file.sentence.rstrip("."))
        elif model.architecture not in file.architectures or component not in file.components:
            problems.append(f"{file.sentence.rstrip('.')}, and {model.id} needs a {NAMES[component]} there")
    return problems


def is_present(model: CatalogueModel, model_paths: ModelPaths) -> bool:
    """Return whether a worker could load the model now, as far as is known; true for a model that is built locally."""
    if model.built_locally:
        return True
    try:
        located = locate(model, model_paths)
    except RenderError:
        return False
    return not known_problems(located.directory, located.files, model_paths.models_dir)


def is_checked(model: CatalogueModel, model_paths: ModelPaths) -> bool:
    """Return whether it is known if the model's weights lack tensors; true as well where there are no weights to look at."""
    try:
        located = locate(model, model_paths)
    except RenderError:
        return True
    return known_problems(located.directory, located.files, model_paths.models_dir) is not None


def _candidates(model: CatalogueModel, model_paths: ModelPaths) -> Iterator[tuple[Path, Origin, str | None]]:
    own = model_paths.weights(model.id)
    if marker := read_marker(own):
        yield own, "models_dir", marker.revision
    if model.folder:
        yield model.folder, "folder", None
    if model.id in model_paths.folders:
        yield model_paths.folders[model.id], "folder", None
    if model.weights.repo and (snapshot := model_paths.hub_snapshot(model.weights.repo, model.weights.revision)):
        yield snapshot, "hub_cache", snapshot.name


def folder_problems(model: CatalogueModel, directory: Path) -> list[str]:
    """List in plain sentences why the folder cannot be loaded as that model."""
    problems = missing_files(directory)
    found = pipeline_class(directory)
    if found and model.pipeline not in ("auto", found):
        problems.append(f"{directory} holds a {found}, but {model.id} is a {model.pipeline}")
    return problems


def lora_folder(weights: Path, repo: str) -> Path:
    """Return the folder, next to a model's components, of a LoRA that belongs to the model."""
    return weights / "loras" / repo.replace("/", "--")


def find_lora_file(lora: Lora, weights: Path, model_paths: ModelPaths) -> Path | None:
    """Return the LoRA's file next to those weights, else in the hub's cache; None when neither has it."""
    snapshot = model_paths.hub_snapshot(lora.repo, None)
    for folder in (lora_folder(weights, lora.repo), snapshot):
        file = folder / lora.weight_name if folder else None
        if file and file.is_file():
            return file
    return None


def _message(model: CatalogueModel, problems: list[str]) -> str:
    if model.built_locally:
        return f"{model.id} has not been built yet: start a worker, or run `imagefarm models pull {model.id}`."
    if model.files or model.folder:
        return (
            f"The weights of {model.id} cannot be loaded: {'; '.join(problems) or 'the folder is gone'}. Correct its "
            f"paths in models.toml, or run `imagefarm models remove {model.id}`."
        )
    reason = (
        "; ".join(problems) or "they are neither in the models directory, nor in a folder you named, nor in the hub's cache"
    )
    what = "cannot be loaded" if problems else "are not on this machine"
    return f"The weights of {model.id} {what}: {reason}. Run `imagefarm models pull {model.id}`."
