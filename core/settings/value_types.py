"""Types of the values of settings: what each accepts, and in which form the farm uses it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from core.connection_urls import database_url_problem, redis_url_problem
from core.public_address import parse_networks, parse_public_url
from core.storage_url import parse_storage_url

DEFAULT_DATA_DIR = Path("data")
MEMORY_POLICIES = (
    "resident",
    "int8",
    "text-int8",
    "fp8",
    "int8-lean",
    "lean",
    "offload",
    "int4-lean",
    "fp8-offload",
    "by-turns",
    "cpu",
    "cpu-int8",
    "cpu-text-int8",
)
"""Names of the memory tiers in worker/memory/tiers.py."""
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")


def _absolute_path(path: Path) -> Path:
    """Return the path without links and `~`. Raises ValueError for one that neither SQLite nor JSON can name."""
    absolute = path.expanduser().resolve()
    try:
        str(absolute).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{os.fsencode(absolute)!r} is not text in UTF-8: rename that folder or choose another; if the name is UTF-8 "
            "but the locale is not, set PYTHONUTF8=1"
        ) from None
    return absolute


def _none_if_empty(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _default_data_dir_if_empty(value: object) -> object:
    """Take an empty text for the default: as a path it would be the current directory."""
    return DEFAULT_DATA_DIR if _none_if_empty(value) is None else value


def _names_from_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    if wrong := [name for name in names if name != "*" and not _HOST_NAME.fullmatch(name)]:
        raise ValueError(
            f"{wrong[0]!r} is not a host name: write names or addresses without scheme, port and path, "
            "such as `farm.example,192.168.1.5,::1`, or `*` alone for every name"
        )
    return names


def _folders_from_json(value: object) -> object:
    """Decode here, so that invalid JSON is reported like any other invalid value and an empty text means no folders."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from error


def _folders_from_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value.strip().startswith("["):
        return [part.strip() for part in value.split(os.pathsep) if part.strip()]
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from error


def _absolute_folders(value: list[Path]) -> list[Path]:
    return [folder.expanduser().resolve() for folder in value]


def _absolute_folders_of_models(value: dict[str, Path]) -> dict[str, Path]:
    return {model: _absolute_path(folder) for model, folder in value.items()}


def _known_device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise ValueError("it is not a device: write auto, cpu, cuda or cuda:N")
    return value


def _known_memory_policy(value: str) -> str:
    if value != "auto" and value not in MEMORY_POLICIES:
        raise ValueError(f"it is not a memory tier: write auto or one of {', '.join(MEMORY_POLICIES)}")
    return value


def _known_text_device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise ValueError(f"{value!r} is not a device for text encoders: write auto, cpu, cuda or cuda:N")
    return value


def _sound_public_url(value: str) -> str:
    return parse_public_url(value).url if value.strip() else ""


def _sound_networks(value: str) -> str:
    parse_networks(value)
    return value


def _usable_redis_url(value: str) -> str:
    if value and (problem := redis_url_problem(value)):
        raise ValueError(problem)
    return value


def _usable_database_url(value: str) -> str:
    if value and (problem := database_url_problem(value)):
        raise ValueError(problem)
    return value


def _usable_storage_url(value: str) -> str:
    if value:
        parse_storage_url(value)
    return value


def _model_names(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise ValueError("write the names of models with commas between them, such as `z-image-turbo,sd-turbo`")
    if "auto" in names[1:] or (names[0] == "auto" and len(names) > 1):
        raise ValueError("`auto` is one model: write it alone, or name every model")
    return ",".join(names)


Folder = Annotated[Path, AfterValidator(_absolute_path)]
DataFolder = Annotated[Folder, BeforeValidator(_default_data_dir_if_empty)]
FolderOrNone = Annotated[Folder | None, BeforeValidator(_none_if_empty)]
Folders = Annotated[list[Path], NoDecode, BeforeValidator(_folders_from_text), AfterValidator(_absolute_folders)]
FoldersOfModels = Annotated[
    dict[str, Path], NoDecode, BeforeValidator(_folders_from_json), AfterValidator(_absolute_folders_of_models)
]
HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names_from_text)]
ModelNames = Annotated[str, AfterValidator(_model_names)]
Networks = Annotated[str, AfterValidator(_sound_networks)]
PublicUrl = Annotated[str, AfterValidator(_sound_public_url)]
RedisUrl = Annotated[str, AfterValidator(_usable_redis_url)]
DatabaseUrl = Annotated[str, AfterValidator(_usable_database_url)]
DeviceName = Annotated[str, AfterValidator(_known_device)]
MemoryPolicy = Annotated[str, AfterValidator(_known_memory_policy)]
TextDevice = Annotated[str, AfterValidator(_known_text_device)]
StorageUrl = Annotated[str, AfterValidator(_usable_storage_url)]
