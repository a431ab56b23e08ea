"""Import torch's compiler, and the algebra of its symbolic shapes, only when something compiles."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

from core.deferred_imports import DeferredPackage, deferred_class

Decorated = Callable[..., Any]

_TRACED = "torch._dynamo._trace_wrapped_higher_order_op"
_SHAPES = "torch.fx.experimental.symbolic_shapes"


def _is_plain(value: object, kinds: tuple[type, ...]) -> bool:
    if type(value) is tuple:
        return all(type(each) in kinds for each in value)
    return type(value) in kinds


def _itself(value: object) -> object:
    return value


_OF_PLAIN: dict[str, tuple[Callable[..., object], tuple[type, ...]]] = {
    **dict.fromkeys(("guard_bool", "guard_or_false", "guard_or_true", "guard_size_oblivious"), (_itself, (bool,))),
    "expect_true": (lambda value, _skip=0: value, (bool, int)),
    "statically_known_true": (_itself, (bool,)),
    "guard_int": (_itself, (int,)),
    "is_nested_int": (lambda _: False, (int,)),
    "sym_eq": (operator.eq, (int,)),
    "sym_and": (lambda *values: all(values), (bool,)),
    "sym_or": (lambda *values: any(values), (bool,)),
    "has_guarding_hint": (lambda _: True, ()),
    "guarding_hint_or_throw": (_itself, ()),
}
"""What functions of symbolic shapes return for values of these plain types, and tuples of them, as all shapes are without
the compiler."""


def defer_compiler() -> None:
    """Defer what is a quarter of all that diffusers and transformers import.

    Their decorators, which concern compiled code only, take effect when the compiler is imported.
    """
    import torch  # noqa: F401 -- of which the compiler is a part

    shapes = _defer_shapes()
    marked: list[tuple[str, Decorated]] = []

    def mark(decorator: str, decorated: Decorated) -> Decorated:
        marked.append((decorator, decorated))
        return decorated

    def disable(function: Decorated | None = None, recursive: bool = True, **more: Any) -> Decorated:  # noqa: ANN401 -- as torch's own
        if function is None:
            return functools.partial(disable, recursive=recursive, **more)
        disabled: Decorated | None = None

        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:  # noqa: ANN401 -- the function's own
            nonlocal disabled
            if not compiler.is_imported:
                return function(*args, **keywords)
            if disabled is None:
                disabled = compiler.import_now("torch._dynamo").disable(function, recursive, **more)
            return disabled(*args, **keywords)

        return call

    def take_effect() -> None:
        shapes.import_now(_SHAPES)
        dynamo = compiler.import_now("torch._dynamo")
        for decorator, decorated in marked:
            getattr(dynamo, decorator)(decorated)

    def optimized_module() -> type | None:
        return compiler.import_now("torch._dynamo.eval_frame").OptimizedModule if compiler.is_imported else None

    def index_as_traced(*args: Any, **options: Any) -> Any:  # noqa: ANN401 -- torch's own
        return compiler.import_now(_TRACED).TransformGetItemToIndex(*args, **options)

    compiler = DeferredPackage(
        "torch._dynamo",
        {
            "torch._dynamo": {
                "allow_in_graph": functools.partial(mark, "allow_in_graph"),
                "assume_constant_result": functools.partial(mark, "assume_constant_result"),
                "disable": disable,
            },
            "torch._dynamo.eval_frame": {"OptimizedModule": deferred_class("OptimizedModule", optimized_module)},
            _TRACED: {"TransformGetItemToIndex": index_as_traced},
        },
        take_effect,
    )
    compiler.install()


def _defer_shapes() -> DeferredPackage:
    """Defer sympy and what torch computes with it, of which tensors on the meta device use a few checks."""

    def later(name: str, answer: Callable[..., object], kinds: tuple[type, ...]) -> Callable[..., object]:
        def call(*values: Any, **options: Any) -> object:  # noqa: ANN401 -- torch's own
            if not options and all(_is_plain(value, kinds) for value in values):
                return answer(*values)
            return getattr(shapes.import_now(_SHAPES), name)(*values, **options)

        return call

    def expression() -> type | None:
        return algebra.import_now("sympy").Basic if algebra.is_imported else None

    shapes = DeferredPackage(_SHAPES, {_SHAPES: {name: later(name, *of_plain) for name, of_plain in _OF_PLAIN.items()}})
    shapes.install()
    algebra = DeferredPackage("sympy", {"sympy": {"Basic": deferred_class("Basic", expression)}})
    algebra.install()
    return shapes
