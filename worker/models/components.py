"""Load a pipeline's components one by one, so that progress can be told in bytes."""

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
    # With the package invisible-watermark installed, SDXL would change its pictures silently.
    "add_watermarker": False,
    # The farm decodes its own latents, so the checker would be loaded and never asked.
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
"""Constructor arguments given to every pipeline class that knows them."""

OURS = {"ZImageTransformer2DModel": ZImageTransformer2DModel}
"""Classes of our own that stand in for the libraries' of the same name."""

LoadOne = Callable[[Path, str, str], torch.nn.Module]
"""(component's folder, library, class name) -> the module."""


def load_components(directory: Path, load_one: LoadOne, on_fraction: OnFraction) -> dict[str, torch.nn.Module]:
    """Every component with weights, by name, each from `load_one`; `on_fraction` hears 0..1 by bytes on disk."""
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
    """One model of diffusers or transformers from its folder; never touches the network."""
    variant = variant_of(folder)
    options: dict[str, object] = {"variant": variant} if variant else {}
    module: torch.nn.Module = class_named(library, cls).from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, **options
    )
    return module.eval()


def class_named(library: str, cls: str) -> Any:  # noqa: ANN401 - a class of diffusers or transformers
    """The class to make a component of."""
    return OURS.get(cls) or getattr(importlib.import_module(library), cls)


def variant_of(folder: Path) -> str | None:
    """The variant of the weights to load: None when plain names are there."""
    chosen = choose_set((path.name for path in weight_files(folder)), None)
    return chosen[0].belongs_to.variant if chosen else None


def assemble(directory: Path, loaded: dict[str, torch.nn.Module], dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline over components that are loaded already; tokenizers and scheduler come from the folder."""
    cls = getattr(diffusers, pipeline_class(directory))
    parameters = inspect.signature(cls.__init__).parameters
    switches = {name: value for name, value in SWITCHES.items() if name in parameters}
    return DiffusionPipeline.from_pretrained(str(directory), dtype=dtype, local_files_only=True, **switches, **loaded)


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(folder))
