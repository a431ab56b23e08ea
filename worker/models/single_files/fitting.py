"""Compare a file's tensors with the model that they are for: nothing may be missing, and every shape must fit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.quantizers.gguf.utils import GGUFParameter

from core.catalogue.model_folder import components
from core.errors import RenderError
from worker.models.components import class_named

log = logging.getLogger(__name__)


def empty_model(configs: Path, component: str) -> Any:  # noqa: ANN401 - a model of diffusers or transformers
    """Return the component without weights, on the meta device; what its constructor computes is on the CPU."""
    library, cls = components(configs)[component]
    made, folder = class_named(library, cls), str(configs / component)
    with init_empty_weights(include_buffers=False):
        if library == "diffusers":
            return made.from_config(made.load_config(folder, local_files_only=True))
        return made(made.config_class.from_pretrained(folder, local_files_only=True))


def only_known(tensors: Mapping[str, torch.Tensor], expected: Iterable[str], path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors that the model has; raise RenderError if one is missing, log which ones are not used."""
    wanted = set(expected)
    if missing := sorted(wanted - tensors.keys()):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise unusable(path, f"it lacks the tensor {missing[0]}{more}: it is damaged or belongs to another model")
    if unused := sorted(tensors.keys() - wanted):
        log.warning("%s: %d tensors are not part of the model and are not used, such as %s", path, len(unused), unused[0])
    return {name: tensor for name, tensor in tensors.items() if name in wanted}


def check_fit(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Return the tensors in the model's shapes: vectors stored in one dimension less get it; raise RenderError otherwise."""
    fitted = {}
    for name, tensor in tensors.items():
        shape, found = tuple(expected[name].shape), _shape(tensor)
        if found != shape and found != tuple(side for side in shape if side != 1):
            raise unusable(path, f"its tensor {name} is {list(found)}, not {list(shape)}: it belongs to another model")
        fitted[name] = tensor if found == shape else tensor.reshape(shape)
    return fitted


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the shape in elements; packed tensors have bytes."""
    return tuple(tensor.quant_shape if isinstance(tensor, GGUFParameter) else tensor.shape)


def unusable(path: Path, why: str) -> RenderError:
    """Return the error for a file that cannot be loaded."""
    return RenderError(f"{path} cannot be loaded: {why}. Download it again, or use another file.", code="model_unavailable")
