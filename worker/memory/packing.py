"""Pack a component's weights straight from its files one tensor at a time, without loading the whole component."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from worker.memory.packed_layers import PackedLinear
from worker.memory.quantize import empty_layer_like
from worker.memory.tiers import PackedForm
from worker.memory.weight_files import Layout, TensorFile
from worker.memory.weight_source import WeightSource

OnFraction = Callable[[float], None]
KEPT_IN_FP32 = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
"""Attributes in which diffusers and transformers list modules that loaders keep in fp32; `_strict` applies to bf16 too."""


class Packing:
    """Packs one component.

    `shaped`: the component on the meta device, prepared for packed weights. `source`: its weights as stored. `form`: None
    casts without packing.
    """

    def __init__(self, shaped: nn.Module, source: WeightSource, form: PackedForm | None, dtype: torch.dtype) -> None:
        self._form, self._dtype = form, dtype
        self._source = source
        self._has_one_dtype = not any(getattr(shaped, name, None) for name in KEPT_IN_FP32)
        self._layers = {f"{path}.weight": layer for path, layer in shaped.named_modules() if isinstance(layer, PackedLinear)}
        self._layouts = self._packed_layouts(shaped)
        self._names = self._own_names(getattr(shaped, "base_model_prefix", ""))

    @property
    def size(self) -> int:
        """Bytes of all weights once packed."""
        return sum(layout.size for layout in self._layouts.values())

    @property
    def is_supported(self) -> bool:
        """Whether the files hold all weights under known names, and the component keeps none of them in another dtype.

        If not, its library's own loader must read them.
        """
        needed = {name for name in self._layouts if name not in self._made_by_packing}
        return self._has_one_dtype and needed == set(self._names.values())

    def write(self, target: Path, on_fraction: OnFraction) -> None:
        """Write all packed weights into one safetensors file."""
        with TensorFile(target, self._layouts) as file:
            for name, tensor in self.packed(on_fraction):
                file.put(name, tensor)

    def packed(self, on_fraction: OnFraction) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield names as in the component's state, and tensors as they are stored."""
        total, done = max(sum(layout.size for layout in self._source.layouts.values()), 1), 0
        for stored_as, tensor in self._source.tensors():
            if stored_as in self._names:
                yield from self._pack(self._names[stored_as], tensor)
            done += tensor.nbytes
            on_fraction(done / total)

    def _pack(self, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Cast to the compute dtype first, as a loader would, then pack."""
        in_dtype = tensor.to(self._dtype) if tensor.is_floating_point() else tensor
        if self._form is None or name not in self._layers:
            yield name, in_dtype
            return
        layer = empty_layer_like(self._layers[name], self._form, self._dtype)
        layer.pack(in_dtype)
        path = name.removesuffix("weight")
        yield from ((path + part, value) for part, value in layer.state_dict().items() if part != "bias")

    def _packed_layouts(self, shaped: nn.Module) -> dict[str, Layout]:
        """Return the layouts to store; `shaped` has its packed parts' dtypes and its constructor's for all others."""
        packed = {name for weight in self._layers for name in self._parts(weight)}
        found = {}
        for name, tensor in shaped.state_dict().items():
            cast = tensor.is_floating_point() and name not in packed
            found[name] = Layout(self._dtype if cast else tensor.dtype, tuple(tensor.shape))
        return found

    @property
    def _made_by_packing(self) -> set[str]:
        return {name for weight in self._layers for name in self._parts(weight) if name != weight}

    def _parts(self, weight: str) -> list[str]:
        """Return the names of the tensors that replace a weight once it is packed."""
        path = weight.removesuffix("weight")
        return [path + part for part in self._layers[weight].state_dict() if part != "bias"]

    def _own_names(self, prefix: str) -> dict[str, str]:
        """Map names in the files to names in the component; transformers saves base models with or without a prefix."""
        pairs = ((name, (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}")) for name in self._source.layouts)
        found = ((name, next((own for own in possible if own in self._layouts), None)) for name, possible in pairs)
        return {name: own for name, own in found if own is not None}
