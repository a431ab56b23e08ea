"""Verify a model's weight files: their headers, and their SHA-256 against what was recorded. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.catalogue import CatalogueModel, ModelPaths, locate
from core.catalogue.model_folder import MARKER_FILE, missing_files, read_marker
from core.catalogue.recognise import recognise
from core.catalogue.weight_damage import damage_of
from core.catalogue.weight_dirs import SUFFIXES
from core.errors import NotFound, RenderError
from worker.models import checksums
from worker.models.checksums import CHECKSUMS_FILE, Checksum
from worker.models.pull.progress import Meter, OnPull

_CHECKED_HEADERS = frozenset({".safetensors", ".bin"})
_SHA256_CHARS, _GIT_CHARS = 64, 40
AGAIN = "pull the model again, or copy the file again from where it came"

FileState = Literal["ok", "damaged", "unknown"]


@dataclass(frozen=True)
class VerifiedFile:
    """`name`: path in the model's folder, or the name of a single file. `sentence`: what is wrong or not known."""

    name: str
    state: FileState
    size_bytes: int
    sha256: str | None = None
    sentence: str = ""


@dataclass(frozen=True)
class Verified:
    """`problems`: what keeps the model from loading, apart from damaged files, such as a missing component."""

    state: FileState
    files: list[VerifiedFile]
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """Files by name, with what is known of them."""

    files: dict[str, Path]
    known: dict[str, Checksum]
    record: Path | None
    """Where checksums of files are recorded that nothing is known of yet."""
    problems: list[str]


def verify(model: CatalogueModel, model_paths: ModelPaths, on_pull: OnPull) -> Verified:
    """Read every weight file of the model and compare it with what was recorded at its pull or its first check.

    Raises NotFound `weights_missing` when none of the model's weights are on this machine.
    """
    place = _place_of(model, model_paths)
    sizes = {name: path.stat().st_size for name, path in place.files.items() if path.is_file()}
    meter = Meter("verifying", sum(sizes.values()), on_pull)
    meter.add(0)
    recorded: dict[str, Checksum] = {}
    files: list[VerifiedFile] = []
    for name, path in sorted(place.files.items()):
        files.append(_verify_file(name, path, place, recorded, meter))
        if place.record is not None and recorded:  # After each file: a check of 30 GB may be interrupted.
            checksums.write(place.record, {**place.known, **recorded})
    return Verified(_worst(files), files, place.problems)


def _worst(files: list[VerifiedFile]) -> FileState:
    states = {file.state for file in files}
    return "damaged" if "damaged" in states else "unknown" if "unknown" in states else "ok"


def _place_of(model: CatalogueModel, model_paths: ModelPaths) -> _Place:
    folder = _folder_of(model, model_paths)
    loras: tuple[Path, ...] = ()
    problems: list[str] = []
    try:
        loras = locate(model, model_paths).loras
    except RenderError as error:
        problems = missing_files(folder) if folder else [] if model.files else [error.message]
    if model.files:
        files = {path.name: path for path in model.files.values()}
    elif folder is not None:
        files = dict(_weight_files(folder))
    else:
        raise NotFound(problems[0] if problems else f"{model.id} has no weights here.", code="weights_missing")
    files |= {path.name: path for path in loras if path not in files.values()}
    if folder is not None and (written := checksums.read(folder / CHECKSUMS_FILE)):
        known = {name: each for name, each in written.items() if Path(name).name != MARKER_FILE}
        return _Place({**files, **{name: folder / name for name in known}}, known, None, problems)
    record = checksums.record_of(model_paths.models_dir, model.id)
    return _Place(files, checksums.read(record), record, problems)


def _folder_of(model: CatalogueModel, model_paths: ModelPaths) -> Path | None:
    """Return the first folder with weights of the model, whether or not they are whole."""
    own = model_paths.weights(model.id)
    if read_marker(own) is not None:
        return own
    snapshot = model_paths.hub_snapshot(model.weights.repo, model.weights.revision) if model.weights.repo else None
    named = (model.folder, model_paths.folders.get(model.id), snapshot)
    return None if model.files else next((each for each in named if each is not None and each.is_dir()), None)


def _weight_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        if path.suffix in SUFFIXES:
            yield path.relative_to(folder).as_posix(), path


def _verify_file(name: str, path: Path, place: _Place, recorded: dict[str, Checksum], meter: Meter) -> VerifiedFile:
    if not path.is_file():
        return VerifiedFile(name, "damaged", 0, None, f"is missing: {AGAIN}")
    size = path.stat().st_size
    if damage := _damage(path):
        meter.add(size, path.name)
        return VerifiedFile(name, "damaged", size, None, damage)
    if (blob := _blob_name(path)) is not None:
        return _verify_blob(name, path, blob, meter)
    known = place.known.get(name)
    sha256 = checksums.sha256_of(path, meter.add)
    if known is not None and known.sha256 == sha256:
        return VerifiedFile(name, "ok", size, sha256)
    modified = path.stat().st_mtime_ns
    if known is not None and (place.record is None or known.modified_ns == modified):
        return VerifiedFile(name, "damaged", size, sha256, f"differs from what was recorded: {AGAIN}")
    recorded[name] = Checksum(sha256=sha256, size_bytes=size, modified_ns=modified)
    sentence = (
        "no checksum was known: this one is recorded, and the next check compares with it"
        if known is None
        else "was modified since the last check: its new checksum is recorded, and the next check compares with it"
    )
    return VerifiedFile(name, "unknown", size, sha256, sentence)


def _damage(path: Path) -> str:
    """Return what is wrong with the file as its header tells, as the end of a sentence; "" when nothing is."""
    if path.suffix in _CHECKED_HEADERS:
        return damage_of(path)
    if path.suffix in SUFFIXES and (found := recognise(path)).kind == "unknown":
        return f"cannot be used: {found.sentence}"
    return ""


def _blob_name(path: Path) -> str | None:
    """Return the checksum by which the hub's cache names the file that `path` links to; None for any other file."""
    target = path.resolve()
    name = target.name
    is_blob = target.parent.name == "blobs" and len(name) in (_SHA256_CHARS, _GIT_CHARS)
    return name if is_blob and not set(name) - set("0123456789abcdef") else None


def _verify_blob(name: str, path: Path, blob: str, meter: Meter) -> VerifiedFile:
    is_sha256 = len(blob) == _SHA256_CHARS
    found = checksums.sha256_of(path, meter.add) if is_sha256 else checksums.git_blob_of(path, meter.add)
    sha256 = found if is_sha256 else None
    size = path.stat().st_size
    if found == blob:
        return VerifiedFile(name, "ok", size, sha256)
    return VerifiedFile(name, "damaged", size, sha256, f"differs from what the hub lists: {AGAIN}")
