"""Module-level tables are constants: no code of the product changes one after its module was loaded."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("api", "app", "cli", "core", "db", "imagefarm", "storage", "supervisor", "worker")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
_MUTATORS = {"update", "setdefault", "pop", "popitem", "clear", "append", "extend", "insert", "remove", "add", "discard"}


def changes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of every statement in a function that changes a table named like a constant."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            for name in _changed(node):
                yield getattr(node, "lineno", 0), name


def _changed(node: ast.AST) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = [target.value for target in node.targets if isinstance(target, ast.Subscript)]
    elif isinstance(node, ast.AugAssign):
        targets = [node.target.value if isinstance(node.target, ast.Subscript) else node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
        targets = [node.func.value]
    for target in targets:
        name = target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""
        if name.strip("_") and name.upper() == name:
            yield name


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f():\n    CODES['x'] = 1", ["CODES"]),
        ("def f():\n    del problems.CODES['x']", ["CODES"]),
        ("def f():\n    CODES.setdefault('x', 1)", ["CODES"]),
        ("def f():\n    _TABLE |= {}", ["_TABLE"]),
        ("CODES = {}\nCODES['x'] = 1", []),
        ("def f():\n    codes['x'] = CODES['x']", []),
    ],
)
def test_the_check_finds_changes(source: str, names: list[str]) -> None:
    assert [name for _, name in changes(ast.parse(source))] == names


def test_no_function_changes_a_table() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in FILES
        for line, name in changes(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(FILES) > 200
    # Flower and kombu have no option for further columns and transports: their own tables are extended at process start.
    foreign = ("supervisor/flower/columns.py", "worker/hints/transport.py")
    assert [each for each in found if not each.startswith(foreign)] == []
