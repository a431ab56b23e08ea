"""`imagefarm models pull`: weights from the hub, its cache or a folder, converted once into the models directory."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.catalogue import CatalogueModel, Lora, ModelPaths
from core.catalogue.model_folder import INDEX_FILE, Marker, missing_files, read_marker
from core.catalogue.presence import find_lora_file, folder_problems, lora_folder
from core.errors import Conflict, InvalidInput
from worker.models import checksums
from worker.models.demo import ensure_built
from worker.models.folders import Contents, atomic_folder, check_space, converted_bytes, remove_drafts
from worker.models.pull.download import Download
from worker.models.pull.progress import Meter, OnPull, PullProgress
from worker.models.pull.repository import Hub, RemoteFile, RemoteRepo, select

DOWNLOADS = ".downloads"


@dataclass(frozen=True)
class PullOptions:
    """`source`: a folder in diffusers' layout instead of the hub. `keep_download`: keep the downloaded files after their
    conversion. `again`: pull even a model that is present. Source folders and the hub's cache are never deleted.
    """

    source: Path | None = None
    keep_download: bool = False
    again: bool = False
    hub: Hub = field(default_factory=Hub)


@dataclass(frozen=True)
class Pulled:
    """Result of a pull; `already_here`: the model was present, and nothing was done."""

    directory: Path
    marker: Marker | None
    already_here: bool = False


def pull(model: CatalogueModel, model_paths: ModelPaths, options: PullOptions, on_pull: OnPull) -> Pulled:
    """Make the model loadable from the models directory.

    Raise Unavailable `hub_unavailable`, NotFound `hub_not_found`, Forbidden `hub_refused`, Conflict `not_enough_disk` or
    `pull_running`, InvalidInput for a source folder that does not hold the model or is damaged, RenderError
    `model_unavailable` when a tensor is missing from the weights.
    """
    target = model_paths.weights(model.id)
    if model.built_locally:
        on_pull(PullProgress("building"))
        ensure_built(model, model_paths)
        return Pulled(target, read_marker(target))
    if not options.again and (marker := read_marker(target)) and not missing_files(target):
        return Pulled(target, marker, already_here=True)
    with exclusive_pull(model_paths, model.id):
        remove_drafts(model_paths.models_dir / model.id)
        _fetch_and_convert(model, model_paths, options, on_pull)
    on_pull(PullProgress("done"))
    return Pulled(target, read_marker(target))


@contextmanager
def exclusive_pull(model_paths: ModelPaths, model_id: str) -> Iterator[None]:
    """Hold the lock of a model's weights in the models directory; raise Conflict `pull_running` when another has it."""
    folder = model_paths.models_dir / DOWNLOADS
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{model_id}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"Another pull of {model_id} is running.", code="pull_running") from None
        yield


def _fetch_and_convert(model: CatalogueModel, model_paths: ModelPaths, options: PullOptions, on_pull: OnPull) -> None:
    if options.source is not None:
        if problems := folder_problems(model, options.source):
            raise InvalidInput("; ".join(problems), field="source")
        _convert(model, model_paths, options.source, Contents(model.id, "folder", str(options.source), ""), on_pull)
        return
    cached = model_paths.hub_snapshot(model.weights.repo, model.weights.revision)
    has_loras = all(find_lora_file(lora, cached, model_paths) for lora in model.loras) if cached else False
    if cached and has_loras and not missing_files(cached):
        _convert(model, model_paths, cached, _from_hub(model, cached.name), on_pull)
        return
    folder = model_paths.models_dir / DOWNLOADS / model.id
    revision = _download(model, options.hub, folder, model_paths, on_pull)
    _convert(model, model_paths, folder, _from_hub(model, revision), on_pull)
    if not options.keep_download:
        shutil.rmtree(folder)


def _from_hub(model: CatalogueModel, revision: str) -> Contents:
    return Contents(model.id, "hub", model.weights.repo, "", revision)


def _download(model: CatalogueModel, hub: Hub, folder: Path, model_paths: ModelPaths, on_pull: OnPull) -> str:
    """Download all files into `folder`; return the commit."""
    on_pull(PullProgress("listing", detail=model.weights.repo))
    repo = hub.list(model.weights.repo, model.weights.revision)
    _discard_other_revision(folder, repo.revision)
    parts = [(Download(hub, repo, folder), _wanted(model, hub, repo, folder))]
    for lora in model.loras:
        of_lora = hub.list(lora.repo, None)
        parts.append((Download(hub, of_lora, lora_folder(folder, lora.repo)), [of_lora.file(lora.weight_name)]))
    total = sum(file.size for _, files in parts for file in files)
    missing = sum(download.missing_bytes(files) for download, files in parts)
    check_space(model_paths.models_dir, missing + converted_bytes(model, total, model.dtypes[0]), f"Pulling {model.id}")
    meter = Meter("downloading", total, on_pull)
    for download, files in parts:
        download.run(files, meter)
    return repo.revision


def _discard_other_revision(folder: Path, revision: str) -> None:
    """Delete partial downloads of another commit, which cannot be resumed."""
    note = folder / "revision.txt"
    if folder.is_dir() and (not note.is_file() or note.read_text(encoding="utf-8") != revision):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(revision, encoding="utf-8")


def _wanted(model: CatalogueModel, hub: Hub, repo: RemoteRepo, folder: Path) -> list[RemoteFile]:
    index = repo.file(INDEX_FILE)
    Download(hub, repo, folder).run([index], Meter("listing", index.size, lambda _: None))
    content = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    chosen = set(select((file.path for file in repo.files), content, model.weights.variant))
    return [file for file in repo.files if file.path in chosen]


def _convert(model: CatalogueModel, model_paths: ModelPaths, source: Path, contents: Contents, on_pull: OnPull) -> None:
    from worker.models.components import check_tensors
    from worker.models.pull.convert import convert, weight_bytes

    dtype, variant = model.dtypes[0], model.weights.variant
    check_tensors(source, variant)
    total = weight_bytes(source, variant)
    check_space(model_paths.models_dir, converted_bytes(model, total, dtype), f"Converting {model.id}")
    filled = Contents(contents.model, contents.origin, contents.source, dtype, contents.revision)
    with atomic_folder(model_paths.weights(model.id), filled) as draft:
        convert(source, draft, dtype, variant, Meter("converting", total, on_pull))
        for lora in model.loras:
            _copy_lora(lora, source, draft, model_paths)
        written = sorted(path for path in draft.rglob("*") if path.is_file())
        total = sum(path.stat().st_size for path in written)
        checksums.record_folder(draft, written, Meter("hashing", total, on_pull).add)


def _copy_lora(lora: Lora, source: Path, draft: Path, model_paths: ModelPaths) -> None:
    target = lora_folder(draft, lora.repo) / lora.weight_name
    if target.is_file():
        return
    file = find_lora_file(lora, source, model_paths)
    if file is None:
        raise InvalidInput(
            f"The LoRA {lora.repo} is missing: put {lora.weight_name} into {lora_folder(source, lora.repo)}.", field="source"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
