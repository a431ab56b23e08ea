"""Import a package without an optional dependency of its own that is installed here but never used through it."""

from __future__ import annotations

import importlib
import sys


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
