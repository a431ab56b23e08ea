"""Layers whose 16-bit weights are widened at each use, to compute in fp32 on CPUs that multiply bf16 slowly."""

from __future__ import annotations

import torch
from diffusers.quantizers.gguf.utils import GGUFLinear
from torch import nn

from worker.device.unpacked_product import unpacked_product
from worker.memory.packed_layers import PackedLinear
from worker.memory.stored_layers import GgufEmbedding


class WideLinear(PackedLinear):
    """Weight [out, in] in bf16 as loaded, often mapped pages of a file; widening changes no number.

    The weight is held as int16, because libraries take the dtype of a floating-point weight as the compute dtype.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, dtype)
        self.stored_dtype = linear.weight.dtype
        self.weight = _as_integers(linear.weight)
        if linear.bias is not None:
            self.bias = nn.Parameter(linear.bias.data.to(dtype), requires_grad=False)

    def pack(self, weight: torch.Tensor) -> None:
        """Refuse: its weight is what was loaded."""
        raise TypeError("a widened weight is never packed again")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.weight.view(self.stored_dtype)
        return unpacked_product(
            input, self.out_features, lambda some: weight[some].to(input.dtype), self._parameters["bias"]
        )


class WideEmbedding(nn.Embedding):
    """An embedding that widens only the rows of the tokens it is asked for."""

    def __init__(self, embedding: nn.Embedding, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = embedding.num_embeddings, embedding.embedding_dim
        self.padding_idx, self.compute_dtype, self.stored_dtype = embedding.padding_idx, dtype, embedding.weight.dtype
        self.weight = _as_integers(embedding.weight)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return tokens' rows in the compute dtype."""
        return self.weight[input].view(self.stored_dtype).to(self.compute_dtype)


def _as_integers(weight: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(weight.data.view(torch.int16), requires_grad=False)


def compute_in(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Make a loaded component compute in a wider dtype, in place; return it.

    Matrices keep their form in memory, bf16 or packed, and are unpacked to that dtype at each use. All else is cast.
    """
    for path, child in list(module.named_modules()):
        if type(child) is nn.Linear and _is_narrow(child.weight):
            module.set_submodule(path, WideLinear(child, dtype))
        elif type(child) is nn.Embedding and _is_narrow(child.weight):
            module.set_submodule(path, WideEmbedding(child, dtype))
        elif isinstance(child, PackedLinear | GGUFLinear | GgufEmbedding):
            child.compute_dtype = dtype
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and tensor.dtype != dtype:
            tensor.data = tensor.data.to(dtype)
    return module


def _is_narrow(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.bfloat16
