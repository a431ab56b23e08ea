"""Command lines and environments of Python child processes that never import from the current directory."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs `module` in this interpreter.

    `-P` keeps the current directory off `sys.path`: a folder there named `core` or `api` would replace this package's.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """Return this process's environment with this package importable from any directory, also by grandchildren."""
    inherited = os.environ.get("PYTHONPATH", "")
    paths = [path for path in inherited.split(os.pathsep) if path]  # an empty entry means the current directory
    if str(_ROOT) not in site.getsitepackages():
        paths.insert(0, str(_ROOT))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
