"""Log lines that name a job in their text carry its id as a field, for searches in JSON logs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeGuard

from tests.servers.farm import ROOT

NAMES_A_JOB = ("job %s", "hint %s", "request %s failed")
BY_CONTEXT = (
    ("worker/runner/runner.py", "refused: attempt %d no longer holds job %s"),
    ("worker/runner/runner.py", "job %s after"),
)
"""Lines within `log_context`, which adds the id."""


def lines() -> Iterator[tuple[str, str, set[str]]]:
    """Yield path, text and the fields of `extra` of each call of a logger."""
    for package in ("api", "db", "supervisor", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if is_log_call(call) and isinstance(text := call.args[0], ast.Constant):
                    yield str(path.relative_to(ROOT)), str(text.value), fields(call)


def is_log_call(node: ast.AST) -> TypeGuard[ast.Call]:
    called = node.func if isinstance(node, ast.Call) and node.args else None
    return isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in ("logger", "log")


def fields(call: ast.Call) -> set[str]:
    """Return the keys of a dictionary that is written there."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
    keys = [key for each in given if isinstance(each, ast.Dict) for key in each.keys]
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def test_a_line_that_names_a_job_has_its_id_as_a_field() -> None:
    found = [line for line in lines() if any(name in line[1] for name in NAMES_A_JOB)]
    assert len(found) >= 6, "the loggers are called otherwise now"
    missing = [
        (path, text)
        for path, text, names in found
        if "job_id" not in names and not any(path == known and text.startswith(start) for known, start in BY_CONTEXT)
    ]
    assert missing == []
