"""Optional dependencies: which extras of the distribution are installed, and imports without what is never used."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

from core.errors import FarmError

_QUEUE = ("celery", "psycopg", "redis", "sqlalchemy")
EXTRAS: dict[str, tuple[str, ...]] = {
    "server": (*_QUEUE, "alembic", "cryptography", "dynamicprompts", "fastapi", "flower", "prometheus_client", "uvicorn"),
    "mcp": ("mcp",),
    "worker": (*_QUEUE, "accelerate", "diffusers", "gguf", "peft", "safetensors", "torch", "transformers"),
    "s3": ("boto3",),
}
"""The modules that each extra of pyproject.toml brings. An extra counts as installed when all of them are found."""


class MissingExtra(FarmError):
    """A part of imagefarm that is needed here is not installed."""

    code = "extra_missing"


def is_installed(extra: str) -> bool:
    """Return whether every module of the extra is found; nothing is imported."""
    return all(find_spec(module) is not None for module in EXTRAS[extra])


def require_extras(*extras: str, purpose: str = "This command") -> None:
    """Raise MissingExtra with the pip command that installs what `purpose` needs."""
    missing = [extra for extra in extras if not is_installed(extra)]
    if not missing:
        return
    listed = " and ".join(part for part in (", ".join(missing[:-1]), missing[-1]) if part)
    parts = f"the {listed} part{'s' if len(missing) > 1 else ''}"
    wanted = "all" if {"server", "worker"} <= set(missing) else ",".join(missing)
    raise MissingExtra(f"{purpose} needs {parts}: run {install_command(wanted)}.")


def install_command(extras: str) -> str:
    """Return in words how to install these extras: the package is on no index, so that pip needs a checkout."""
    return f"`pip install '.[{extras}]'` in a checkout of imagefarm"


def import_without(package: str, left_out: str) -> None:
    """Import `package` as on a machine without the module `left_out`, which stays importable for everyone else.

    Nothing is changed when either has been imported already. Raises ImportError when the package needs the module.
    """
    if package in sys.modules or left_out in sys.modules:
        return
    sys.modules[left_out] = None  # type: ignore[assignment]  # Python's own mark of a module that cannot be imported
    try:
        importlib.import_module(package)
    finally:
        del sys.modules[left_out]
