"""Compile the project and its tests before processes that import them start together: `python -m tests.compiled`.

The servers that tests start else compile the project, each for itself. Processes of pytest-xdist that are not forked from
one else rewrite the assertions of all test modules, ten seconds of CPU time each, since all are at the same module at once.
"""

from __future__ import annotations

import compileall
import re
import sys
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, assertstate_key, get_cache_dir
from _pytest.config import get_config

ROOT = Path(__file__).resolve().parents[1]
REWRITTEN = re.compile(r"/(test_[^/]*|conftest)\.py$")
"""Modules whose assertions pytest rewrites."""


def main() -> None:
    """Write what pytest and the interpreter look for in `__pycache__`, unless it is there."""
    sys.dont_write_bytecode = False
    for path in ROOT.glob("*/__init__.py"):
        compileall.compile_dir(path.parent, quiet=2, rx=REWRITTEN)
    config = get_config()
    config.parse([str(ROOT / "tests")])
    rewrite_tests(config)


def rewrite_tests(config: pytest.Config) -> None:
    """Compile each test module as pytest does when it imports it first."""
    state = config.stash[assertstate_key]
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if REWRITTEN.search(path.as_posix()):
            folder = get_cache_dir(path)
            folder.mkdir(parents=True, exist_ok=True)
            compiled = folder / (path.stem + PYC_TAIL)
            if _read_pyc(path, compiled) is None:
                source_hash, code = _rewrite_test(path, config)
                _write_pyc(state, code, source_hash, compiled)


if __name__ == "__main__":
    main()
