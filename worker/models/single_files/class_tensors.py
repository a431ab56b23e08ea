"""Rename and reshape a component's stored tensors into those that its diffusers or transformers class has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from torch import nn

Tensors = dict[str, torch.Tensor]
BASE_NAMES = ("text_model.", "model.")
"""Names of base models, which transformers adds or removes when it saves and loads."""
OPEN_CLIP = "transformer.resblocks."
COPIED = ("in_proj_weight", "in_proj_bias", "text_projection")
"""Ends of names whose tensors the converter copies, so that they cannot be found in its result."""
UNUSED = re.compile(
    r"norm_final\.weight|lm_head\.weight|logit_scale|text_projection(\.weight)?|loss\..*|model_ema\..*"
    r"|.*position_ids|.*rotary_emb\.inv_freq|.*(resblocks|encoder\.layers)\.\d+\..*"
)
"""Tensors that published files hold and the classes do not use, such as the last layer of a CLIP that ends before it."""


@dataclass(frozen=True)
class Converted:
    """`tensors` by the class's names; `missing`: its names without a tensor; `unexpected`: the file's unused names."""

    tensors: Tensors
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def convert(stored: Mapping[str, torch.Tensor], module: nn.Module) -> Converted:
    """Convert tensors, named without prefixes, for a module on the meta device; most results are views of the stored ones.

    Of the ways in which the names may be spelled the one that leaves the fewest tensors missing is taken.
    """
    expected = module.state_dict()
    best: Converted | None = None
    for candidate in _candidates(stored, module):
        tensors = {name: _shaped(candidate[name], each.shape) for name, each in expected.items() if name in candidate}
        missing = tuple(sorted(expected.keys() - tensors.keys()))
        if best is None or len(missing) < len(best.missing):
            best = Converted(tensors, missing, _unexpected(stored, tensors))
        if not missing:
            break
    assert best is not None  # noqa: S101 - the first candidate always exists
    return best


def _candidates(stored: Mapping[str, torch.Tensor], module: nn.Module) -> Iterator[Tensors]:
    """Yield the tensors under the library's own names, then as its converter of original names returns them."""
    yield _own_names(stored, module)
    if any(name.startswith(OPEN_CLIP) for name in stored):
        yield _own_names(convert_open_clip_checkpoint(module, dict(stored), prefix=""), module)
    elif converter := _converter(module):
        try:
            converted = converter(checkpoint=_named_for_converter(stored, module), config=_config(module))
        except (KeyError, AttributeError, RuntimeError, IndexError):
            return  # The converters expect all tensors of their model: what is missing is reported by the first candidate.
        yield _own_names({name: each for name, each in converted.items() if each is not None}, module)


def _converter(module: nn.Module) -> Callable[..., dict[str, torch.Tensor | None]] | None:
    for cls in type(module).__mro__:
        if row := SINGLE_FILE_LOADABLE_CLASSES.get(cls.__name__):
            found: Callable[..., Any] = row["checkpoint_mapping_fn"]
            return found
    return None


def _config(module: Any) -> dict[str, Any]:  # noqa: ANN401 - a model of diffusers
    return dict(module.config)


def _named_for_converter(stored: Mapping[str, torch.Tensor], module: nn.Module) -> Tensors:
    """Add the prefix without which the UNet's converter ignores names."""
    prefix = "model.diffusion_model." if type(module).__name__ == "UNet2DConditionModel" else ""
    return {prefix + name: each for name, each in stored.items()}


def _own_names(named: Mapping[str, torch.Tensor], module: nn.Module) -> Tensors:
    """Return the tensors with the base model's name added or removed where the module has them so."""
    expected = module.state_dict().keys()
    found = {_spelling(name, expected): each for name, each in named.items()}
    if hasattr(module, "_fix_state_dict_keys_on_load"):
        any_module: Any = module
        any_module._fix_state_dict_keys_on_load(found)
    for target, source in _tied(module).items():
        if source in found:
            found.setdefault(target, found[source])
    return found


def _spelling(name: str, expected: Any) -> str:  # noqa: ANN401 - the keys of a dictionary
    spellings = (name, *(name.removeprefix(base) for base in BASE_NAMES), *(base + name for base in BASE_NAMES))
    return next((each for each in spellings if each in expected), name)


def _tied(module: nn.Module) -> Mapping[str, str]:
    """Return the weights that share another's storage and need not be stored: name -> name of the other."""
    tied = getattr(module, "_tied_weights_keys", None)
    is_tied = getattr(getattr(module, "config", None), "tie_word_embeddings", False)
    return tied if is_tied and isinstance(tied, dict) else {}


def _shaped(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Give a pad token that is stored with one dimension the class's two."""
    if tensor.ndim == 1 and shape == (1, len(tensor)):
        return tensor.unsqueeze(0)
    return tensor


def _unexpected(stored: Mapping[str, torch.Tensor], used: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Compare addresses, since converted tensors have other names and shapes."""
    addresses = {each.data_ptr() for each in used.values()}
    left = (name for name, each in stored.items() if each.data_ptr() not in addresses and not name.endswith(COPIED))
    return tuple(sorted(name for name in left if not UNUSED.fullmatch(name)))
