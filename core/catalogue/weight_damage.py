"""Find damaged weight files by their first bytes and their size, without reading the tensors."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HEAD_BYTES = 512
_MAX_HEADER_BYTES = 100_000_000
"""Limit of the safetensors library itself."""
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head")
_PICKLE = b"\x80"


POINTER = "is a git-LFS pointer, not the file itself: run `git lfs pull` in its repository"
_POINTER_BYTES = 1024
"""Largest pointer by the git-LFS specification."""


def is_pointer(file: Path) -> bool:
    """Return whether a file is a git-LFS pointer in place of the file itself."""
    try:
        if file.is_dir() or file.stat().st_size > _POINTER_BYTES:
            return False
        with file.open("rb") as opened:
            return opened.read(len(_LFS)) == _LFS
    except OSError:
        return False


def damage_of(file: Path) -> str:
    """Return what is wrong with a weight file, as the end of a sentence that begins with its name; "" when nothing is."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return _not_weights(head, size) or (
        _damaged_safetensors(file) if file.suffix == ".safetensors" else _damaged_pickle(file)
    )


def _not_weights(head: bytes, size: int) -> str:
    if not size:
        return "is empty: download it again"
    if head.startswith(_LFS):
        return POINTER
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_PAGE):
        return "is a web page, not weights: a download saved an error page, so download it again"
    if start.startswith(b'{"') and not head[1:8].count(0):
        return "is a JSON text, not weights: a download saved an error message, so download it again"
    if not head.strip(b"\0"):
        return "begins with zeros only: the download or the copy did not finish, so download it again"
    return ""


def tensors_of(file: Path) -> Mapping[str, Any]:
    """Return the header of a safetensors file: name -> dtype, shape and offsets. Raises ValueError when it is damaged."""
    return header_of(file)[0]


def header_of(file: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what `tensors_of` does, and the file's metadata texts by name. Raises ValueError when the header is damaged."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= _MAX_HEADER_BYTES:
            raise ValueError("is not a safetensors file")
        if 8 + length > size:
            raise ValueError(f"is cut off: its header alone has {8 + length:,} bytes, the file has {size:,}")
        try:
            header = json.loads(opened.read(length))
            tensors = {name: row for name, row in header.items() if name != "__metadata__"}
            end = 8 + length + max((int(row["data_offsets"][1]) for row in tensors.values()), default=0)
        except (ValueError, AttributeError, KeyError, IndexError, TypeError, RecursionError):
            raise ValueError("has a damaged header") from None
    if end > size:
        raise ValueError(f"is cut off: {size:,} of {end:,} bytes are there")
    if end < size:
        raise ValueError(f"is damaged: it has {size - end:,} bytes more than its header states")
    metadata = header.get("__metadata__")
    return tensors, metadata if isinstance(metadata, dict) else {}


def _damaged_safetensors(file: Path) -> str:
    try:
        tensors = tensors_of(file)
    except ValueError as error:
        return f"{error}: download it again"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if tensors else "holds no tensors: download it again"


def _damaged_pickle(file: Path) -> str:
    """Check a file of torch.save: a ZIP archive, whose directory is at its end, or before torch 1.6 a pickle."""
    with file.open("rb") as opened:
        if opened.read(1) == _PICKLE:
            return ""
    return "" if zipfile.is_zipfile(file) else "is cut off, or no file of PyTorch: download it again"


def index_damage(index: Path) -> str:
    """Return what a shard lacks of the tensors that its index names, as a sentence's end like `damage_of`'s."""
    try:
        rows = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        named: dict[str, set[str]] = {}
        for tensor, shard in rows.items():
            named.setdefault(shard, set()).add(tensor)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "is not a readable index of weight files"
    for shard, tensors in sorted(named.items()):
        if not shard.endswith(".safetensors"):
            continue
        try:
            missing = sorted(tensors - tensors_of(index.parent / shard).keys())
        except (OSError, ValueError):
            continue  # Reported for the shard itself.
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"names the tensor {missing[0]}{more}, missing from {shard}: download both again"
    return ""
