"""Map the tensors of a weight file from disk; only what is used is read."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from core.catalogue.component_keys import component_keys
from core.catalogue.recognise import container_of, read_header
from core.catalogue.weight_damage import damage_of
from core.catalogue.weight_headers import HeaderError
from core.errors import RenderError

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a safetensors file or a pickled checkpoint, mapped from it.

    Raise RenderError `model_unavailable` for a damaged file and for a pickle that holds more than tensors and plain values.
    """
    container = container_of(path)
    if container != "safetensors" and (damage := damage_of(path)):
        raise unusable(path, damage)
    try:
        if container == "pickle":
            return _pickled(path)
        read_header(path)  # Its messages say more than the library's.
        return load_file(path)
    except HeaderError as error:
        raise unusable(path, str(error)) from error
    except (OSError, SafetensorError) as error:
        raise unusable(path, f"cannot be read: {error}") from error


def component_tensors(path: Path, component: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one component, without their prefixes; raise RenderError when the file holds none of it."""
    stored = read_tensors(path)
    names = component_keys(stored, component)
    if not names:
        raise unusable(path, f"holds no {component}: name a file that does, or a complete checkpoint")
    return {own: stored[name] for own, name in names.items()}


def _pickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, ValueError, TypeError) as error:
        raise unusable(
            path,
            "is a pickle that cannot be loaded as weights alone: pickles can run programs, so nothing else in them is "
            "loaded. Get the model as a .safetensors file, or convert it where you trust it",
        ) from error
    while isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    found = {str(name): each for name, each in loaded.items() if isinstance(each, torch.Tensor)} if _is_dict(loaded) else {}
    if not found:
        raise unusable(path, "holds no tensors by name")
    return found


def _is_dict(loaded: object) -> bool:
    return isinstance(loaded, Mapping)


def unusable(path: Path, why: str) -> RenderError:
    """Return the error for a file of weights; `why` goes on from its name."""
    return RenderError(f"{path} {why}.", code="model_unavailable")
