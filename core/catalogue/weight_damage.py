"""Find damaged weight files by their first bytes and their size, without reading the tensors."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from core.catalogue.weight_headers import HeaderError, safetensors_header

_HEAD_BYTES = 512
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


def _damaged_safetensors(file: Path) -> str:
    try:
        header = safetensors_header(file)
    except HeaderError as error:
        return f"{error}: download it again"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if header.tensors else "holds no tensors: download it again"


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
            missing = sorted(tensors - safetensors_header(index.parent / shard).tensors.keys())
        except (OSError, ValueError):
            continue  # Reported for the shard itself.
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"names the tensor {missing[0]}{more}, missing from {shard}: download both again"
    return ""
