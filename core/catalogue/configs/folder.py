"""Unpack an architecture's configurations and tokenizers, once, into a folder in diffusers' layout."""

from __future__ import annotations

import atexit
import hashlib
import logging
import lzma
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from core.catalogue.catalogue import Architecture
from core.errors import InvalidInput
from core.ids import new_id

log = logging.getLogger(__name__)

CONFIGS = ".configs"
"""Name of the folder in the models directory that holds the unpacked ones."""
TOKENIZERS: Mapping[Architecture, Mapping[str, tuple[str, ...]]] = {
    "z-image": {"tokenizer": ("qwen3",)},
    "sd15": {"tokenizer": ("clip",)},
    "sd21": {"tokenizer": ("clip", "open-clip")},
    "sdxl": {"tokenizer": ("clip",), "tokenizer_2": ("clip", "open-clip")},
    "flux2-klein": {"tokenizer": ("qwen3",)},
    "qwen-image": {"tokenizer": ("qwen2.5",)},
}
"""Architecture -> folder of a tokenizer -> the shared folders it is made of; files of later ones replace earlier ones."""
_PACKED = ".xz"
_PART = ".part"
_ABANDONED_AFTER_SECONDS = 3600.0


def config_folder(architecture: Architecture, models_dir: Path) -> Path:
    """Return the folder of an architecture's configurations, scheduler and tokenizers; write what is missing from it.

    It is in the models directory, or in a temporary folder of this process where that cannot be written. Several processes
    may call this at once, since each file appears whole, and a process that was killed leaves work for the next call only.
    Raises InvalidInput for an unknown architecture.
    """
    if architecture not in TOKENIZERS:
        raise InvalidInput(f"There are no configurations for '{architecture}'. Known: {', '.join(TOKENIZERS)}.")
    name = f"{architecture}-{digest(architecture)}"
    folder = models_dir / CONFIGS / name
    try:
        _complete(folder, architecture)
    except OSError as error:
        private = _private_folder() / name
        log.warning("configurations of %s are kept in %s: %s cannot be written (%s)", architecture, private, folder, error)
        _complete(private, architecture)
        return private
    return folder


@cache
def digest(architecture: Architecture) -> str:
    """Return twelve hexadecimal digits that change with any of the architecture's files."""
    hashed = hashlib.sha256()
    for name, source in sorted(_sources(architecture).items()):
        hashed.update(f"{name}\0".encode())
        hashed.update(source.read_bytes())
    return hashed.hexdigest()[:12]


@cache
def _sources(architecture: Architecture) -> dict[str, Traversable]:
    """Map each file's path in the folder to the shipped file; the latter ends in .xz where it is compressed."""
    data = files("core.catalogue.configs") / "data"
    found = {f"{part.name}/{file.name}": file for part in _folders(data / architecture) for file in part.iterdir()}
    found["model_index.json"] = data / architecture / "model_index.json"
    for folder, shared in TOKENIZERS[architecture].items():
        for source in shared:
            found |= {f"{folder}/{_plain(file.name)}": file for file in (data / "tokenizers" / source).iterdir()}
    return found


def _folders(parent: Traversable) -> list[Traversable]:
    return [entry for entry in parent.iterdir() if entry.is_dir()]


def _plain(name: str) -> str:
    return name.removesuffix(_PACKED)


def _complete(folder: Path, architecture: Architecture) -> None:
    """Write the files that the folder lacks."""
    missing = {name: source for name, source in _sources(architecture).items() if not (folder / name).is_file()}
    for name, source in missing.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / name, source)
    if missing:
        _remove_abandoned(folder)


def _write(file: Path, source: Traversable) -> None:
    content = source.read_bytes()
    part = file.with_name(f".{file.name}.{new_id()}{_PART}")
    try:
        with part.open("xb") as opened:
            opened.write(lzma.decompress(content) if source.name.endswith(_PACKED) else content)
            opened.flush()
            os.fsync(opened.fileno())  # Else a power cut could leave an empty file under the final name.
        part.replace(file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed processes left."""
    for part in folder.rglob(f".*{_PART}"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                part.unlink()


@cache
def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="imagefarm-configs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
