"""Find the LoRA files on this machine, and choose the file that a name means for a model."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.catalogue.catalogue import Architecture, CatalogueModel
from core.catalogue.lora_facts import FAMILY_NAMES, SHORT_HASH, LoraFacts, read_facts
from core.errors import InvalidInput
from core.settings import Settings

FOLDER = "loras"
SUFFIXES = (".safetensors", ".pt", ".ckpt", ".bin")
_CHUNK = 1 << 20
_KNOWN_SHOWN = 30

Place = Literal["model", "models_dir", "weights_dir"]


@dataclass(frozen=True)
class LoraFile:
    """One file. `name` is what requests call it: the file's name without folder and suffix.

    `file`: its path below the folder of LoRAs. `model`: the id of the only model it is for, or "".
    `stamp`: size and time of the last change, by which results about its content are kept.
    """

    name: str
    path: Path
    file: str
    place: Place
    model: str
    stamp: tuple[int, int]
    facts: LoraFacts

    @property
    def size_bytes(self) -> int:
        return self.stamp[0]

    def fits(self, model: CatalogueModel) -> bool:
        """Return whether it may belong to the model, as far as its place and its keys tell."""
        if self.model and self.model != model.id:
            return False
        own = _architectures_of(model)
        return not (self.facts.architectures and own) or not own.isdisjoint(self.facts.architectures)


def _architectures_of(model: CatalogueModel) -> frozenset[Architecture]:
    """Return the architectures that a model can have: rows that only load from a folder may not name theirs."""
    if model.architecture:
        return frozenset([model.architecture])
    if model.family == "stable-diffusion":
        return frozenset(["sdxl"]) if "XL" in model.pipeline else frozenset(["sd15", "sd21"])
    return frozenset(["z-image"]) if model.family == "z-image" else frozenset()


@dataclass(frozen=True)
class LoraHashes:
    """`sha256` of the whole file; `short`: of the tensors alone, 12 digits, as A1111 and Civitai write it."""

    sha256: str
    short: str


class LoraLibrary:
    """The LoRA files of some folders, looked up anew for each call. Headers and hashes are kept while a file is unchanged.

    The order decides between files of one name: a model's own folder, then `loras` in the models directory, then each of
    `weights_dirs`; in a folder by path. Only files of the same family compete: see `choose`.
    """

    def __init__(self, models_dir: Path, weights_dirs: Sequence[Path] = ()) -> None:
        self._models_dir = models_dir
        self._weights_dirs = tuple(weights_dirs)
        self._facts: dict[Path, tuple[tuple[int, int], LoraFacts]] = {}
        self._hashes: dict[Path, tuple[tuple[int, int], LoraHashes]] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> LoraLibrary:
        """Return the library of the folders that the settings name."""
        return cls(settings.resolved_models_dir, settings.weights_dirs)

    def files(self, name: str | None = None) -> list[LoraFile]:
        """Return all files, or those of that name, in the order that decides between them. Reads headers only."""
        found = [file for place, model, folder in self._folders() for file in self._files_in(folder, place, model, name)]
        if name is not None:
            return found
        with self._lock:
            known = {file.path for file in found}
            self._facts = {path: facts for path, facts in self._facts.items() if path in known}
        return found

    def choose(self, name: str, model: CatalogueModel) -> LoraFile:
        """Return what `choose` does; the headers of files with other names are read for an error only."""
        return usable(self.files(name), model).get(name) or choose(self.files(), name, model)

    def hashes(self, file: LoraFile) -> LoraHashes:
        """Return the hashes of a file, which is read as a whole the first time. Raises OSError."""
        with self._lock:
            kept = self._hashes.get(file.path)
        if kept is not None and kept[0] == file.stamp:
            return kept[1]
        hashes = hash_file(file.path)
        with self._lock:
            self._hashes[file.path] = (file.stamp, hashes)
        return hashes

    def known_hashes(self, file: LoraFile) -> LoraHashes | None:
        """Return the hashes if they were computed before; reads nothing."""
        with self._lock:
            kept = self._hashes.get(file.path)
        return kept[1] if kept is not None and kept[0] == file.stamp else None

    def _folders(self) -> Iterator[tuple[Place, str, Path]]:
        for folder in sorted(_folders_in(self._models_dir)):
            if folder.name != FOLDER:
                yield "model", folder.name, folder / FOLDER
        yield "models_dir", "", self._models_dir / FOLDER
        for directory in self._weights_dirs:
            yield "weights_dir", "", directory / FOLDER

    def _files_in(self, folder: Path, place: Place, model: str, name: str | None) -> Iterator[LoraFile]:
        for path, status in _walk(folder):
            if name not in (None, path.stem):
                continue
            stamp = (status.st_size, status.st_mtime_ns)
            yield LoraFile(
                name=path.stem,
                path=path,
                file=path.relative_to(folder).as_posix(),
                place=place,
                model=model,
                stamp=stamp,
                facts=self._facts_of(path, stamp),
            )

    def _facts_of(self, path: Path, stamp: tuple[int, int]) -> LoraFacts:
        with self._lock:
            kept = self._facts.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        facts = read_facts(path)
        with self._lock:
            self._facts[path] = (stamp, facts)
        return facts


def _folders_in(directory: Path) -> list[Path]:
    try:
        return [each for each in directory.iterdir() if not each.name.startswith(".") and each.is_dir()]
    except OSError:
        return []


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield LoRA files below a folder by path, through links to folders, each folder once."""
    seen: set[str] = set()
    found: list[tuple[Path, os.stat_result]] = []
    for directory, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.endswith(SUFFIXES) and _is_text(name):
                path = Path(directory, name)
                try:
                    found.append((path, path.stat()))
                except OSError:
                    continue  # A link to nothing, or deleted meanwhile.
    yield from sorted(found, key=lambda each: each[0].as_posix())


def _is_text(name: str) -> bool:
    """Return whether a file's name can be written in JSON; one in another encoding cannot be asked for."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def hash_file(path: Path) -> LoraHashes:
    """Read a file and compute its hashes. Raises OSError."""
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as opened:
        start = opened.read(8)
        header = opened.read(min(int.from_bytes(start, "little"), path.stat().st_size))
        whole.update(start + header)
        while chunk := opened.read(_CHUNK):
            whole.update(chunk)
            tensors.update(chunk)
    return LoraHashes(whole.hexdigest(), tensors.hexdigest()[:SHORT_HASH])


def usable(files: Iterable[LoraFile], model: CatalogueModel) -> dict[str, LoraFile]:
    """Return name -> file of the LoRAs that the model may take, without damaged ones."""
    found: dict[str, LoraFile] = {}
    for file in files:
        if file.fits(model) and not file.facts.problem:
            found.setdefault(file.name, file)
    return found


def choose(files: Sequence[LoraFile], name: str, model: CatalogueModel) -> LoraFile:
    """Return the file that a name means for a model: the first of that name that the model may take.

    Raises InvalidInput `unknown_lora`, which lists the known ones; `wrong_lora_family`; `damaged_lora`.
    """
    known = usable(files, model)
    if name in known:
        return known[name]
    named = [file for file in files if file.name == name]
    if fitting := [file for file in named if file.fits(model)]:
        raise InvalidInput(
            f"The LoRA '{name}' cannot be used: {fitting[0].file} {fitting[0].facts.problem}.",
            field="loras",
            code="damaged_lora",
        )
    if named:
        raise InvalidInput(f"{_mismatch(named[0], model)} {_listed(known, model)}", field="loras", code="wrong_lora_family")
    raise InvalidInput(f"There is no LoRA '{name}' here. {_listed(known, model)}", field="loras", code="unknown_lora")


def _mismatch(file: LoraFile, model: CatalogueModel) -> str:
    if file.model and file.model != model.id:
        return f"The LoRA '{file.name}' is in the folder of {file.model}, and the job is for {model.id}."
    families = " or ".join(FAMILY_NAMES[each] for each in file.facts.architectures)
    own = f" ({FAMILY_NAMES[model.architecture]})" if model.architecture else ""
    return f"The LoRA '{file.name}' is for {families}, and the job is for {model.id}{own}."


def _listed(known: dict[str, LoraFile], model: CatalogueModel) -> str:
    if not (names := sorted(known)):
        folder = "put LoRA files into the folder loras of the models folder (docs/guides/weights.md)"
        return f"There is none for {model.id}: {folder}."
    more = f" and {len(names) - _KNOWN_SHOWN} more" if len(names) > _KNOWN_SHOWN else ""
    return f"Available for {model.id}: {', '.join(names[:_KNOWN_SHOWN])}{more}."
