"""The package that this API runs from, as a wheel for machines that join, and the versions of what it needs."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from core.errors import FarmError
from core.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("api", "app", "cli", "core", "db", "imagefarm", "migrations", "storage", "supervisor", "web", "worker")
"""As in pyproject.toml; a test compares the two."""
WHEEL_NAME = f"imagefarm-{VERSION}-py3-none-any.whl"
_INFO = f"imagefarm-{VERSION}.dist-info"
_WHEEL = "Wheel-Version: 1.0\nGenerator: imagefarm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_MADE_AT = (2000, 1, 1, 0, 0, 0)


def build_wheel() -> bytes:
    """Return a wheel of the files that this process was started from. Raises FarmError `not_installed` without metadata."""
    try:
        found = distribution("imagefarm")
    except PackageNotFoundError:
        raise FarmError(
            "This API runs from files that were never installed: install imagefarm on the control box with pip.",
            code="not_installed",
        ) from None
    files = dict(_own_files())
    for name in ("METADATA", "entry_points.txt"):
        files[f"{_INFO}/{name}"] = (found.read_text(name) or "").encode()
    files[f"{_INFO}/WHEEL"] = _WHEEL.encode()
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{_INFO}/RECORD"] = "\n".join([*record, f"{_INFO}/RECORD,,", ""]).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _MADE_AT), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def constraints() -> str:
    """Return exact versions for pip: those that the project is tested with, else those that are installed here."""
    file = ROOT / "constraints.txt"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    names = {each.metadata["Name"]: each.version.partition("+")[0] for each in distributions() if each.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(names.items()) if name != "imagefarm")


def _own_files() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_bytes()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
