"""Import transformers without reading the source of all its models, 2500 files, to learn which names each exports."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.deferred_imports import import_package_lazily

_PACKAGE, _MODELS = "transformers", "models"
_FORMER_ENDING = "Fast"
"""Ends former names of tokenizers and image processors, which transformers derives from the present ones."""
Structure = dict[frozenset[str], dict[str, set[str]]]
"""As transformers has it: the names that each module exports, by what must be installed for them."""
Read = Callable[[Path | str, str | None], Structure]


def import_transformers() -> None:
    """Import transformers. It reads a model's folder when a class of it is wanted, and all for a name of no folder.

    A version whose modules are not made as this expects is imported as usual.
    """
    if not import_package_lazily(_PACKAGE):
        return
    vars(sys.modules[_PACKAGE])["__version__"] = importlib.metadata.version(_PACKAGE)
    tools = vars(importlib.import_module(f"{_PACKAGE}.utils.import_utils"))
    del sys.modules[_PACKAGE]
    read: Read | None = tools.get("define_import_structure")
    lazy: Any = tools.get("_LazyModule")
    utilities = vars(sys.modules[f"{_PACKAGE}.utils"])
    if read is not None and lazy is not None and utilities.get("_LazyModule") is lazy:
        # For good: transformers runs its package's code a second time, for a module that it looks its own classes up in.
        tools["define_import_structure"] = partial(_skip_models, read)
        tools["_LazyModule"] = utilities["_LazyModule"] = _with_lazy_models(lazy, read)
    importlib.import_module(_PACKAGE)


def _skip_models(read: Read, path: Path | str, prefix: str | None = None) -> Structure:
    return {frozenset(): {_MODELS: set()}} if prefix == _MODELS else read(path, prefix)


def _with_lazy_models(lazy: Any, read: Read) -> type:  # noqa: ANN401 -- transformers' own class
    """Return a class of modules of which the package's has no model's names until they are wanted."""
    lock = threading.RLock()

    class LazyModels(lazy):  # type: ignore[misc]
        def __init__(self, name: str, module_file: str, *more: Any, **options: Any) -> None:  # noqa: ANN401 -- its own
            self._waiting: dict[str, str] = {}
            super().__init__(name, module_file, *more, **options)
            if name == _PACKAGE:
                self._folder = Path(module_file).parent / _MODELS
                folders = (entry.name for entry in self._folder.iterdir() if entry.is_dir())
                self._waiting |= {_letters(each): each for each in sorted(folders, key=len, reverse=True)}
                del self.__all__

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- any export
            if name == "__all__":
                self._read_all()
                return [*self._modules, *self._class_to_module]
            if self._waiting and not name.startswith("_") and not self._knows(name):
                self._read_for(name)
            return super().__getattr__(name)

        def _knows(self, name: str) -> bool:
            known = {*self._objects, *self._object_missing_backend, *self._class_to_module, *self._modules}
            return not known.isdisjoint((name, name.removesuffix(_FORMER_ENDING)))

        def _read_for(self, name: str) -> None:
            with lock:
                found = next((each for each in self._waiting if _letters(name).startswith(each)), None)
                if found is not None:
                    folder = self._waiting.pop(found)
                    self._add(read(self._folder / folder, f"{_MODELS}.{folder}"))
                if not (self._knows(name) or _is_base_class(name) or find_spec(f"{_PACKAGE}.{name}")):
                    self._read_all()

        def _read_all(self) -> None:
            with lock:
                if self._waiting:
                    self._waiting.clear()
                    self._add(read(self._folder, _MODELS))

        def _add(self, structure: Structure) -> None:
            added = vars(lazy(self._name, self.__file__, structure))
            self._modules |= added["_modules"]
            self._class_to_module |= added["_class_to_module"]
            self._object_missing_backend |= added["_object_missing_backend"]
            self._import_structure |= added["_import_structure"]

    return LazyModels


def _letters(name: str) -> str:
    """Return how the name of a model's folder begins the names of its classes."""
    return name.replace("_", "").lower()


def _is_base_class(name: str) -> bool:
    """Return whether diffusers asks every library for this class; those that transformers has are no model's."""
    asks = sys.modules.get("diffusers.pipelines.pipeline_loading_utils")
    return name in getattr(asks, "ALL_IMPORTABLE_CLASSES", ())
