"""Load a pipeline's components one by one, so that progress can be reported in bytes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from core.catalogue.model_folder import components, pipeline_class, weight_files
from core.catalogue.weight_names import choose_set
from worker.memory.packing import OnFraction
from worker.models.z_image_transformer import ZImageTransformer2DModel

KNOWN_LIBRARIES = frozenset({"diffusers", "transformers"})
SWITCHES: dict[str, object] = {
    # With the package invisible-watermark installed, SDXL would silently change its images.
    "add_watermarker": False,
    # The engine decodes latents itself, so the checker would never be called.
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
"""Constructor arguments passed to every pipeline class that accepts them."""

OWN_CLASSES = {"ZImageTransformer2DModel": ZImageTransformer2DModel}
"""Subclasses of the libraries' classes, loaded in place of those of the same name."""

LoadOne = Callable[[Path, str, str], torch.nn.Module]
"""(component's folder, library, class name) -> the module."""


def load_components(directory: Path, load_one: LoadOne, on_fraction: OnFraction) -> dict[str, torch.nn.Module]:
    """Load every component with weights through `load_one`, by name; `on_fraction` gets 0..1 by bytes on disk."""
    rows = {name: row for name, row in components(directory).items() if row[0] in KNOWN_LIBRARIES}
    sizes = {name: _weight_bytes(directory / name) for name in rows}
    total, done = max(sum(sizes.values()), 1), 0
    loaded: dict[str, torch.nn.Module] = {}
    for name, (library, cls) in rows.items():
        loaded[name] = load_one(directory / name, library, cls)
        done += sizes[name]
        on_fraction(done / total)
    return loaded


def load_component(folder: Path, library: str, cls: str, dtype: torch.dtype) -> torch.nn.Module:
    """Load one model of diffusers or transformers from its folder; never uses the network."""
    variant = variant_of(folder)
    options: dict[str, object] = {"variant": variant} if variant else {}
    module: torch.nn.Module = class_named(library, cls).from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, **options
    )
    return module.eval()


def class_named(library: str, cls: str) -> Any:  # noqa: ANN401 - a class of diffusers or transformers
    """Return the class of a component."""
    return OWN_CLASSES.get(cls) or getattr(importlib.import_module(library), cls)


def variant_of(folder: Path) -> str | None:
    """Return the variant of the weights to load; None when plain names exist."""
    chosen = choose_set((path.name for path in weight_files(folder)), None)
    return chosen[0].belongs_to.variant if chosen else None


def assemble(directory: Path, loaded: dict[str, torch.nn.Module], dtype: torch.dtype) -> DiffusionPipeline:
    """Build the pipeline from loaded components; tokenizers and scheduler come from the folder."""
    cls = getattr(diffusers, pipeline_class(directory))
    parameters = inspect.signature(cls.__init__).parameters
    switches = {name: value for name, value in SWITCHES.items() if name in parameters}
    return DiffusionPipeline.from_pretrained(str(directory), dtype=dtype, local_files_only=True, **switches, **loaded)


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(folder))
