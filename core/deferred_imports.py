"""Import parts of libraries only when something uses them: what a process never uses takes no time and no memory."""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class DeferredPackage(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A package that is imported when more is wanted of it than a few names.

    `names`: for each module of the package, what importers may take from it at once. Any other name, and any other module
    of the package, imports it for good; then `on_import` is called.
    """

    def __init__(
        self, package: str, names: Mapping[str, Mapping[str, object]], on_import: Callable[[], object] = bool
    ) -> None:
        self.package = package
        self._on_import = on_import
        self._is_waiting = True
        self._specs: dict[str, ModuleSpec | None] = {}
        self._stand_ins = {name: _StandIn(self, name, given) for name, given in {package: {}, **names}.items()}

    @property
    def is_imported(self) -> bool:
        return not self._is_waiting

    def install(self) -> None:
        """Defer the package, unless it was imported already or is not installed."""
        spec = None if self.package in sys.modules else importlib.util.find_spec(self.package)
        if spec is None:
            self._is_waiting = False
            return
        sys.meta_path.insert(0, self)
        for name, stand_in in self._stand_ins.items():
            stand_in.__spec__ = spec if name == self.package else ModuleSpec(name, None)
            sys.modules[name] = stand_in
            _put_into_parent(name, stand_in)

    def import_now(self, module: str) -> ModuleType:
        """Import the package, if it has not been, and return this module of it."""
        if self._is_waiting:
            self._is_waiting = False
            sys.meta_path.remove(self)
            for name, stand_in in self._stand_ins.items():
                if sys.modules.get(name) is stand_in:
                    del sys.modules[name]
            importlib.import_module(self.package)
            self._on_import()
        return importlib.import_module(module)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find modules of the package that have no stand-in; they are imported from the package itself."""
        if not fullname.startswith(f"{self.package}."):
            return None
        module, spec = self.import_now(fullname), ModuleSpec(fullname, self)
        # The import system now finds the module imported, and would run its code again by the spec that it has.
        self._specs[fullname], module.__spec__ = module.__spec__, spec
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, which `find_spec` has imported."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as its own import made it."""
        module.__spec__ = self._specs.pop(module.__name__)


class _StandIn(ModuleType):
    def __init__(self, owner: DeferredPackage, name: str, given: Mapping[str, object]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__.update(given)
        self.__dict__["_owner"] = owner

    def __getattr__(self, name: str) -> object:
        # The import system and debuggers ask for such names, and want nothing of the package.
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        owner: DeferredPackage = self.__dict__["_owner"]
        return getattr(owner.import_now(self.__name__), name)


def is_imported(module: str) -> bool:
    """Return whether the module was imported for good, and is neither missing nor deferred."""
    return module in sys.modules and not isinstance(sys.modules[module], _StandIn)


class DeferredClass(type):
    """The class of classes that stand for one of a deferred package: nothing is an instance before that is imported.

    Make one with `deferred_class`.
    """

    find: Callable[[], type | None]

    def __instancecheck__(cls, instance: object) -> bool:
        found = cls.find()
        return found is not None and isinstance(instance, found)

    def __subclasscheck__(cls, subclass: type) -> bool:
        found = cls.find()
        return subclass is cls or (found is not None and issubclass(subclass, found))

    def __getattr__(cls, name: str) -> object:
        found = cls.find()
        if found is None:
            raise AttributeError(name)
        return getattr(found, name)


def deferred_class(name: str, find: Callable[[], type | None]) -> type:
    """Return a class that stands for the one that `find` returns, and for none while that is None."""
    return DeferredClass(name, (), {"find": staticmethod(find)})


def import_names_lazily(package: str) -> bool:
    """Let the package import each of its modules when a name of it is wanted, instead of all of them at once.

    Does so only when its `__init__.py` has nothing but imports from its own modules. Returns whether it did.
    """
    if package in sys.modules:
        return False
    spec = importlib.util.find_spec(package)  # imports the packages above
    if spec is None or spec.origin is None or package in sys.modules:
        return False
    sources = _sources_of_names(ast.parse(Path(spec.origin).read_bytes()), package)
    if sources is None:
        return False
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _LazyNames
    module.__dict__["_sources"] = sources
    sys.modules[package] = module
    _put_into_parent(package, module)
    return True


def import_package_lazily(package: str) -> bool:
    """Let modules of the package be imported without running its own code first, until something wants another name of it.

    For packages whose own code only offers names of their modules. Returns whether it did.
    """
    if package in sys.modules:
        return False
    spec = importlib.util.find_spec(package)
    if spec is None or spec.loader is None or package in sys.modules:
        return False
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _LazyPackage
    sys.modules[package] = module
    _put_into_parent(package, module)
    return True


class _LazyPackage(ModuleType):
    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        _put_into_parent(self.__name__, module)
        return getattr(module, name)


def _put_into_parent(name: str, module: ModuleType) -> None:
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def _sources_of_names(tree: ast.Module, package: str) -> dict[str, tuple[str, str]] | None:
    """Return module and name behind each name that the package's code imports; None when the code does more."""
    sources: dict[str, tuple[str, str]] = {}
    pending = list(tree.body)
    while pending:
        match pending.pop():
            case ast.If(_, body, orelse):
                pending += [*body, *orelse]
            case ast.ImportFrom(str() as module, names, int() as level):
                source = importlib.util.resolve_name("." * level + module, package)
                sources |= {each.asname or each.name: (source, each.name) for each in names}
            case ast.Expr(ast.Constant()):  # a docstring
                continue
            case _:
                return None
    return None if "*" in sources else sources


class _LazyNames(ModuleType):
    def __getattr__(self, name: str) -> object:
        try:
            module, original = self.__dict__["_sources"][name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None
        value = getattr(importlib.import_module(module), original)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__dict__["_sources"]})
