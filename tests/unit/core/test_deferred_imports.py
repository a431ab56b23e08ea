"""Deferred packages are imported when something wants more of them than the names that can be had at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.deferred_imports import (
    DeferredPackage,
    deferred_class,
    import_names_lazily,
    import_package_lazily,
    is_imported,
)

FILES = {
    "heavy/__init__.py": "from heavy.parts import Part\nVALUE = 1\n",
    "heavy/parts.py": "class Part: ...\n",
    "heavy/tools.py": "from heavy.parts import Part\nPart.runs = getattr(Part, 'runs', 0) + 1\ndef tool(): return 'tool'\n",
    "listing/__init__.py": "from .first import First\nif True:\n    from .second import Second as Other\n",
    "listing/first.py": "class First: ...\n",
    "listing/second.py": "class Second: ...\n",
    "active/__init__.py": "from .first import First\nFirst.touched = True\n",
    "active/first.py": "class First: ...\n",
}


@pytest.fixture(autouse=True)
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before, finders = set(sys.modules), list(sys.meta_path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.meta_path[:] = finders


def defer(effects: list[str]) -> DeferredPackage:
    def part() -> type | None:
        return importlib.import_module("heavy.parts").Part if package.is_imported else None

    names: dict[str, dict[str, object]] = {
        "heavy": {"mark": str.upper},
        "heavy.parts": {"Part": deferred_class("Part", part)},
    }
    package = DeferredPackage("heavy", names, lambda: effects.append("imported"))
    package.install()
    return package


def test_names_at_hand_import_nothing() -> None:
    effects: list[str] = []
    package = defer(effects)
    from heavy import mark  # type: ignore[import-not-found]
    from heavy.parts import Part  # type: ignore[import-not-found]

    assert mark("x") == "X"
    assert not isinstance(object(), Part)
    assert not package.is_imported
    assert not is_imported("heavy")
    assert effects == []


def test_another_name_imports_the_package_for_good() -> None:
    effects: list[str] = []
    package = defer(effects)
    import heavy
    from heavy.parts import Part

    assert heavy.VALUE == 1
    assert package.is_imported
    assert is_imported("heavy")
    assert effects == ["imported"]
    real = importlib.import_module("heavy.parts").Part
    assert isinstance(real(), Part)
    assert issubclass(real, Part)
    assert package not in sys.meta_path


def test_another_module_imports_the_package_once() -> None:
    defer([])
    from heavy.tools import tool  # type: ignore[import-not-found]

    assert tool() == "tool"
    module = sys.modules["heavy.tools"]
    assert module.__spec__ is not None
    assert module.__spec__.origin == module.__file__
    assert importlib.import_module("heavy.parts").Part.runs == 1
    assert is_imported("heavy")


def test_an_imported_or_missing_package_is_left_alone() -> None:
    import heavy

    assert defer([]).is_imported
    assert sys.modules["heavy"] is heavy
    absent = DeferredPackage("no_such_package_here", {})
    absent.install()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_package_here")


def test_a_listing_imports_each_module_for_its_name() -> None:
    assert import_names_lazily("listing")
    import listing  # type: ignore[import-not-found]

    assert listing.First.__module__ == "listing.first"
    assert "listing.second" not in sys.modules
    assert listing.Other.__name__ == "Second"
    assert dir(listing)[-1:] != []
    with pytest.raises(AttributeError, match="nothing"):
        _ = listing.nothing


def test_a_package_whose_own_code_does_more_is_imported_as_ever() -> None:
    assert not import_names_lazily("active")
    from active import First  # type: ignore[import-not-found]

    assert First.touched


def test_modules_of_a_late_package_are_imported_without_its_own_code() -> None:
    assert import_package_lazily("active")
    from active.first import First  # type: ignore[import-not-found]

    assert not hasattr(First, "touched")
    import active

    assert active.First is First
    assert First.touched
