"""Load a pipeline's components one by one, so that progress can be reported in bytes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from core.catalogue.model_folder import components, pipeline_class, weight_files
from core.catalogue.tensor_checks import lacking_sentence, stored_tensors
from core.catalogue.weight_headers import TensorInfo
from core.catalogue.weight_names import choose_set
from core.errors import RenderError
from worker.memory.packing import OnFraction
from worker.models.libraries import silence_libraries
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


def load_components(
    directory: Path, load_one: LoadOne, on_fraction: OnFraction, sizes: Mapping[str, int] | None = None
) -> dict[str, torch.nn.Module]:
    """Load every component with weights through `load_one`, by name; `on_fraction` gets 0..1 by `sizes` or bytes on disk."""
    rows = {name: row for name, row in components(directory).items() if row[0] in KNOWN_LIBRARIES}
    sizes = {name: sizes.get(name, 0) if sizes else _weight_bytes(directory / name) for name in rows}
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
    module: torch.nn.Module
    module, found = class_named(library, cls).from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, output_loading_info=True, **options
    )
    if missing := sorted(found["missing_keys"]):
        # The libraries would go on with random numbers in their place.
        raise RenderError(lacking_sentence(folder, cls, missing), code="model_unavailable")
    return module.eval()


def check_tensors(directory: Path, variant: str | None) -> None:
    """Raise RenderError `model_unavailable`, naming the file, when a component's files lack one of its model's tensors.

    Compares names, without reading tensors.
    """
    for name, (library, cls) in components(directory).items():
        folder = directory / name
        stored = stored_tensors(folder, variant) if library in KNOWN_LIBRARIES else {}
        if stored and (missing := tensors_missing_from(folder, library, cls, stored)):
            raise RenderError(lacking_sentence(folder, cls, missing), code="model_unavailable")


def tensors_missing_from(folder: Path, library: str, cls: str, stored: Mapping[str, TensorInfo]) -> list[str]:
    """Return the tensors of a component's model that files with these header rows lack, by the libraries' own rules.

    The libraries rename tensors of earlier versions and share tied ones. All tensors are on the meta device: none is read.
    """
    silence_libraries()
    made = class_named(library, cls)
    state = {name: torch.empty(info.shape, device="meta") for name, info in stored.items()}
    if library == "diffusers":
        with torch.device("meta"):
            model = made.from_config(made.load_config(str(folder), local_files_only=True))
        model._fix_state_dict_keys_on_load(state)
        return sorted(set(model.state_dict()) - set(state))
    config = made.config_class.from_pretrained(str(folder), local_files_only=True)
    _, found = made.from_pretrained(
        None, config=config, state_dict=state, device_map={"": "meta"}, output_loading_info=True, local_files_only=True
    )
    return sorted(found["missing_keys"])


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
