"""Build the API's view of LoRA files."""

from __future__ import annotations

from collections.abc import Sequence

from core.catalogue import Catalogue
from core.catalogue.loras import LoraFile, LoraHashes, LoraLibrary, usable
from core.schemas.loras import Lora, LoraList


def lora_list(library: LoraLibrary, catalogue: Catalogue) -> LoraList:
    """Return all files. Headers are read, files are not: a hash is there if its trainer stored it or it was computed."""
    files = library.files()
    models = _models(files, catalogue)
    return LoraList(items=[_view(file, models.get(file.path.as_posix(), []), library.known_hashes(file)) for file in files])


def loras_called(library: LoraLibrary, catalogue: Catalogue, name: str) -> LoraList:
    """Return the files of that name with their hashes, for which they are read as a whole. Raises OSError."""
    files = library.files()
    models = _models(files, catalogue)
    return LoraList(
        items=[
            _view(file, models.get(file.path.as_posix(), []), library.hashes(file)) for file in files if file.name == name
        ]
    )


def _models(files: Sequence[LoraFile], catalogue: Catalogue) -> dict[str, list[str]]:
    """Return path -> models whose jobs get this file by its name."""
    found: dict[str, list[str]] = {}
    for model in catalogue:
        for file in usable(files, model).values() if model.takes_loras else ():
            found.setdefault(file.path.as_posix(), []).append(model.id)
    return found


def _view(file: LoraFile, models: list[str], hashes: LoraHashes | None) -> Lora:
    facts = file.facts
    return Lora(
        name=file.name,
        file=file.file,
        place=file.place,
        families=list(facts.architectures),
        models=models,
        trigger_words=list(facts.trigger_words),
        title=facts.title or None,
        base=facts.base or None,
        key_style=facts.key_style or None,
        layers=facts.layers,
        bytes=file.size_bytes,
        hash=hashes.short if hashes else facts.stored_hash or None,
        sha256=hashes.sha256 if hashes else None,
        problem=facts.problem or None,
    )
