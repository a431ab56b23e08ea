"""The installed version of imagefarm."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("imagefarm")
    except PackageNotFoundError:
        return "0.0.0+source"


VERSION = _version()
