"""Add a user's model to the catalogue: from a weight file, a folder, or a repository's name; remove it again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.catalogue.catalogue import Architecture, CatalogueModel, Component, load_catalogue
from core.catalogue.farm_catalogue import catalogue_of
from core.catalogue.matching import COMPONENTS, NAMES, Base, Match, base_of, complete, settings_of
from core.catalogue.model_folder import INDEX_FILE
from core.catalogue.model_paths import ModelPaths
from core.catalogue.recognise import known_file, recognise, size_text
from core.catalogue.user_file import add_user_row, remove_user_row, user_file
from core.catalogue.weight_dirs import FOLDERS, SUFFIXES, files_in, models_folder, slug
from core.catalogue.weight_file import WeightFile
from core.errors import InvalidInput
from core.ids import new_id
from core.settings import Settings

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_ROW_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
_RESERVED = frozenset({"files", "operations"})
"""Addresses below /v1/models."""
_MAX_NEIGHBOURS = 500
_SPARE_BYTES = 10**9


@dataclass(frozen=True)
class AddOptions:
    """`named`: files for single components. `base`: the shipped row that it is like. `copy`: copy the files to the farm."""

    name: str | None = None
    named: Mapping[Component, Path] = field(default_factory=dict)
    base: str | None = None
    copy: bool = False


@dataclass(frozen=True)
class Added:
    """The new row, and sentences for people: what the files are, and what was assumed."""

    row: CatalogueModel
    sentences: tuple[str, ...]


def add_model(settings: Settings, source: str, options: AddOptions) -> Added:
    """Look into a file, a folder or a repository's name, and write a row for it into the user's catalogue.

    Nothing is loaded, downloaded or, without `copy`, copied. Raises InvalidInput, which says what the source is and what
    is missing or supported, or Conflict for a name that is taken.
    """
    path = Path(source).expanduser()
    if not path.exists() and _REPO.fullmatch(source) and Path(source).suffix.lower() not in SUFFIXES:
        return add_repository(settings, source, options)
    path = path.absolute()
    if path.is_dir() and not (path / INDEX_FILE).is_file():
        return _add_other_folder(settings, path, options)
    file = recognise(path)
    if path.is_dir() and file.kind == "checkpoint":
        return _add_folder(settings, file, options)
    _refuse_other_kinds(file)
    return _add_files(settings, file, options)


def remove_model(settings: Settings, name: str) -> tuple[str, ...]:
    """Remove a row from the user's catalogue and return sentences that say so; the weights stay where they are."""
    catalogue = catalogue_of(settings)
    row = next((model for model in catalogue if name in (model.id, *model.aliases)), None)
    if row is not None and catalogue.source_of(row.id) == "shipped":
        raise InvalidInput(f"{row.id} is a model that imagefarm ships: it stays in the list.", code="model_shipped")
    if row is not None and catalogue.source_of(row.id) == "found":
        where = next(iter(row.files.values()))
        raise InvalidInput(f"{row.id} was found in a weights folder: move {where} away to remove it.", code="model_found")
    table = remove_user_row(user_file(settings.data_dir), row.id if row else name)
    named = table.get("files", {})
    places = [*(named.values() if isinstance(named, Mapping) else ()), table.get("folder", "")]
    files = sorted({str(place) for place in places} - {""})
    kept = f"Its files stay: {', '.join(files)}." if files else "Weights that were pulled stay in the models directory."
    return f"{name} is removed from {user_file(settings.data_dir)}.", kept


def _refuse_other_kinds(file: WeightFile) -> None:
    if file.kind == "lora":
        advice = "A LoRA is no model: put it into loras/ of a folder in IMAGEFARM_WEIGHTS_DIRS, and name it in a job."
    elif file.kind == "upscaler":
        advice = "An upscaler is no model: put it into upscale_models/ of a folder in IMAGEFARM_WEIGHTS_DIRS."
    elif file.kind == "component" and not {"transformer", "unet"} & set(file.components):
        advice = (
            "That is a part of a model: add the transformer, UNet or checkpoint, with this file as --text-encoder or --vae."
        )
    elif file.kind == "unknown":
        advice = ""
    else:
        return
    raise InvalidInput(f"{file.sentence} {advice}".rstrip(), field="path", code="weights_not_a_model")


def _add_files(settings: Settings, file: WeightFile, options: AddOptions) -> Added:
    architecture = file.architectures[0]
    named = {component: _named_file(path, component, architecture) for component, path in options.named.items()}
    match = complete(file, named, _candidates(settings, file.path), file.path.parent)
    if missing := match.sentence():
        raise InvalidInput(
            f"{file.sentence} {missing}. Name the files with --text-encoder, --text-encoder-2 or --vae, or put them next to "
            "it or into a folder of IMAGEFARM_WEIGHTS_DIRS.",
            field="path",
            code="weights_incomplete",
        )
    base = _base(options, base_of(file, architecture), architecture)
    name = _new_name(options.name or slug(file.path.stem))
    paths: Mapping[Component, Path] = {component: each.path for component, each in match.files.items()}
    if options.copy:
        paths = _copy(settings, name, paths)
    texts = {component: str(path) for component, path in paths.items()}
    row = _write(settings, {"id": name, "title": file.path.stem, "base": base.row, **settings_of(file, base)}, files=texts)
    return Added(row, (file.sentence, *_other_sentences(match, file), _because(name, base)))


def _other_sentences(match: Match, main: WeightFile) -> list[str]:
    others = {file.path: file for file in match.files.values() if file.path != main.path}
    return [file.sentence for file in others.values()]


def _named_file(path: Path, component: Component, architecture: Architecture) -> WeightFile:
    file = recognise(path.expanduser().absolute())
    if component not in COMPONENTS[architecture]:
        raise InvalidInput(f"This model has no {NAMES[component]}.", field=component, code="weights_not_a_model")
    if file.kind == "unknown" or component not in file.components or architecture not in file.architectures:
        raise InvalidInput(
            f"{file.sentence} It cannot be this model's {NAMES[component]}.", field=component, code="weights_not_a_model"
        )
    return file


def _candidates(settings: Settings, main: Path) -> list[WeightFile]:
    """Return files that may complete a model: next to it, in a ComfyUI folder that it is in, in the weights folders."""
    found = list(_neighbours(main.parent))
    roots = [parent for parent in main.parents if parent.name in FOLDERS["diffusion_models"] + FOLDERS["checkpoints"]][:1]
    for root in roots:
        for names in (FOLDERS["text_encoders"], FOLDERS["vae"]):
            for name in names:
                found += _neighbours(root.parent / name)
    for folder in ("text_encoders", "vae", "checkpoints"):
        found += files_in(settings, folder)
    return list({file.path: file for file in found}.values())


def _neighbours(folder: Path) -> list[WeightFile]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError:
        return []
    return [known_file(path) for path in paths[:_MAX_NEIGHBOURS]]


def _base(options: AddOptions, guess: Base, architecture: Architecture | None) -> Base:
    if options.base is None:
        if not any(row.id == guess.row for row in load_catalogue()):
            raise InvalidInput(f"This version has no model like {guess.row}: update imagefarm.", code="weights_not_a_model")
        return guess
    row = load_catalogue().get(options.base)
    if architecture and row.architecture != architecture:
        fitting = ", ".join(
            each.id for each in load_catalogue() if each.architecture == architecture and not each.built_locally
        )
        raise InvalidInput(
            f"{row.id} is another kind of model than these weights. Name one of: {fitting}.",
            field="base",
            code="invalid_base",
        )
    return Base(row.id, "you named it")


def _because(name: str, base: Base) -> str:
    title = load_catalogue().get(base.row).title
    return f"{name} is used like {title} ({base.row}): {base.reason}. Pass --base to choose another."


def _new_name(name: str) -> str:
    if not _ROW_ID.fullmatch(name):
        raise InvalidInput(
            f"'{name}' is no name for a model: use lower-case letters, digits, dots and hyphens.",
            field="name",
            code="invalid_name",
        )
    if name in _RESERVED:
        raise InvalidInput(f"'{name}' is an address of the API: choose another name.", field="name", code="invalid_name")
    return name


def _write(settings: Settings, table: dict[str, Any], **places: Any) -> CatalogueModel:  # noqa: ANN401 -- TOML values
    return add_user_row(user_file(settings.data_dir), table | places)


def _copy(settings: Settings, name: str, paths: Mapping[Component, Path]) -> dict[Component, Path]:
    """Copy the files into the models directory; each appears whole under its name."""
    folder = settings.resolved_models_dir / name / "files"
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(path.stat().st_size for path in set(paths.values()))
    if shutil.disk_usage(folder).free < total + _SPARE_BYTES:
        raise InvalidInput(f"{folder} has no room for {size_text(total)}.", code="disk_full")
    copies = {path: folder / path.name for path in set(paths.values())}
    if len(set(copies.values())) != len(copies):
        raise InvalidInput(
            "Two of the files have the same name, so they cannot be copied into one folder.", code="invalid_name"
        )
    for path, copy in copies.items():
        draft = copy.with_name(f".{copy.name}.{new_id()}")
        try:
            shutil.copyfile(path, draft)
            draft.replace(copy)
        finally:
            draft.unlink(missing_ok=True)
    return {component: copies[path] for component, path in paths.items()}


def _add_folder(settings: Settings, file: WeightFile, options: AddOptions) -> Added:
    _refuse_file_options(options)
    base = _base(options, base_of(file, file.architectures[0]), file.architectures[0])
    name = _new_name(options.name or slug(file.path.name))
    row = _write(settings, {"id": name, "title": file.path.name, "base": base.row, "folder": str(file.path)})
    return Added(row, (file.sentence, _because(name, base)))


def _refuse_file_options(options: AddOptions) -> None:
    if options.named or options.copy:
        raise InvalidInput("--text-encoder, --vae and --copy are for single files; a folder or repository is used as it is.")


def _add_other_folder(settings: Settings, path: Path, options: AddOptions) -> Added:
    if path.name.startswith("models--") and (path / "snapshots").is_dir():
        return add_repository(settings, path.name.removeprefix("models--").replace("--", "/", 1), options)
    if any((models_folder(path) / name).is_dir() for names in FOLDERS.values() for name in names):
        raise InvalidInput(
            f"{path} is a folder of models like ComfyUI's: set IMAGEFARM_WEIGHTS_DIRS={path}, and all its models are found, "
            "or add one of its files.",
            field="path",
            code="weights_not_a_model",
        )
    raise InvalidInput(recognise(path).sentence, field="path", code="weights_not_a_model")


def add_repository(settings: Settings, repo: str, options: AddOptions) -> Added:
    """Add a repository of the hub by name; nothing is asked of the hub, and no such folder is looked for."""
    if not _REPO.fullmatch(repo):
        raise InvalidInput(f"'{repo}' is no repository: write owner/name.", field="repo", code="invalid_name")
    _refuse_file_options(options)
    snapshot = ModelPaths.of(settings).hub_snapshot(repo, None)
    cached = recognise(snapshot) if snapshot is not None else None
    if cached is not None and cached.kind == "checkpoint":
        guess: Base | None = base_of(_as_named(cached, repo), cached.architectures[0])
    else:
        guess = _guess_repository(repo)
    if guess is None and options.base is None:
        shipped = ", ".join(row.id for row in load_catalogue() if not row.built_locally)
        raise InvalidInput(
            f"What {repo} is cannot be seen from its name. Say which model it is like with --base: {shipped}.",
            field="base",
            code="base_needed",
        )
    base = _base(options, guess or Base("", ""), cached.architectures[0] if cached and cached.architectures else None)
    name = _new_name(options.name or slug(repo.partition("/")[2]))
    row = _write(settings, {"id": name, "title": repo, "base": base.row, "weights": {"repo": repo}})
    where = "It is in the hub's cache on this machine." if cached else f"Run `imagefarm models pull {name}` to download it."
    return Added(row, (f"{repo} is a repository of the hub; nothing was downloaded.", _because(name, base), where))


def _as_named(file: WeightFile, repo: str) -> WeightFile:
    """Return the folder's description under the repository's name, since a snapshot is named by its commit."""
    name = repo.partition("/")[2]
    return WeightFile(
        Path(name),
        file.kind,
        file.container,
        file.architectures,
        file.components,
        file.precision,
        file.size_bytes,
        file.sentence,
    )


_REPOSITORIES: tuple[tuple[str, str], ...] = (
    (r"z.?image.*turbo", "z-image-turbo"),
    (r"z.?image", "z-image"),
    (r"sdxl.*turbo", "sdxl-turbo"),
    (r"sdxl|stable.?diffusion.?xl", "sdxl"),
    (r"sd.?turbo", "sd-turbo"),
    (r"stable.?diffusion.?v?2", "sd21"),
    (r"stable.?diffusion.?v?1|sd.?1.?5", "sd15"),
    (r"flux.?2.*klein", "flux2-klein-4b"),
    (r"qwen.?image", "qwen-image"),
)


def _guess_repository(repo: str) -> Base | None:
    for pattern, row in _REPOSITORIES:
        if re.search(pattern, repo.lower()) and any(each.id == row for each in load_catalogue()):
            return Base(row, f"assumed from its name, {repo}")
    return None
