"""Import diffusers and transformers without the parts that an engine may never use: models, LoRAs, torch's compiler."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from core.deferred_imports import DeferredPackage, deferred_class, import_names_lazily, import_package_lazily
from core.extras import import_without
from worker.engine.deferred_compiler import defer_compiler
from worker.engine.lazy_models import import_transformers

_LEFT_OUT = (
    ("accelerate", "boto3"),  # 7 MiB, for the settings of another cloud
    ("httpcore2", "trio"),  # another event loop than asyncio
    ("httpx", "rich"),  # httpx as a command
)
_LISTS = ("models.transformers", "models.unets", "models.autoencoders", "models.controlnets", "hooks", "quantizers")
"""Packages of diffusers that import all their modules, one per kind of model, whichever is wanted."""


def import_leanly(*, compiles: bool) -> None:
    """Import torch, and prepare imports of the other libraries. `compiles`: a CPU uses torch's compiler, too."""
    import torch

    for package, left_out in _LEFT_OUT:
        import_without(package, left_out)
    if not (compiles or torch.cuda.is_available()):
        defer_compiler()
        hide_distributed()
    defer_peft()
    DeferredPackage("requests", {}).install()  # for pictures at an address, which diffusers could fetch
    with _lazy_distributions():
        for each in _LISTS:
            import_names_lazily(f"diffusers.{each}")
    import_transformers()
    import_package_lazily("transformers.models")


@contextmanager
def _lazy_distributions() -> Iterator[None]:
    """Read the file lists of all installed distributions, which diffusers asks for, only when it looks one up."""
    before = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = lambda: _Distributions(before)
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = before


class _Distributions(Mapping[str, list[str]]):
    def __init__(self, read: Callable[[], Mapping[str, list[str]]]) -> None:
        self._read = functools.cache(read)

    def __getitem__(self, package: str) -> list[str]:
        return self._read()[package]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


def hide_distributed() -> None:
    """Let this process look like one with a torch that was built without support for several processes."""
    import torch

    torch.distributed.is_available = _never


def _never() -> bool:
    return False


def defer_peft() -> None:
    """Import peft, which takes as long as diffusers, only for LoRAs."""

    def tuner_layer() -> type | None:
        return package.import_now("peft.tuners.tuners_utils").BaseTunerLayer if package.is_imported else None

    def peft_model() -> type | None:
        return package.import_now("peft").PeftModel if package.is_imported else None

    def disable_input_dtype_casting(*args: Any, **options: Any) -> Any:  # noqa: ANN401 -- peft's own function
        return package.import_now("peft.helpers").disable_input_dtype_casting(*args, **options)

    package = DeferredPackage(
        "peft",
        {
            "peft": {"PeftModel": deferred_class("PeftModel", peft_model)},
            "peft.helpers": {"disable_input_dtype_casting": disable_input_dtype_casting},
            "peft.tuners.tuners_utils": {"BaseTunerLayer": deferred_class("BaseTunerLayer", tuner_layer)},
        },
    )
    package.install()
