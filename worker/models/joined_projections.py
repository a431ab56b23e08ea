"""Queries, keys and values of Z-Image's attention as one product, with one norm and one rotation for queries and keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.normalization import RMSNorm
from torch import nn
from torch.nn import functional

from worker.models.libraries import AttentionModule, Pipeline

FLOATS = frozenset({torch.bfloat16, torch.float16, torch.float32})
_separate = False


@contextmanager
def separate_projections() -> Iterator[None]:
    """Compute three products within the block, as the stock pipeline does. Process-wide: one thread runs the steps."""
    global _separate  # noqa: PLW0603 -- read in each attention, under torch.compile too
    before, _separate = _separate, True
    try:
        yield
    finally:
        _separate = before


@dataclass(frozen=True)
class JoinedProjections:
    """`weight`: of queries, keys and values, [3 * width, channels]; the layers' own weights are parts of it."""

    weight: torch.Tensor

    def suit(self, attn: AttentionModule) -> bool:
        """Return whether the attention's layers are its own: adapters put theirs in their places."""
        return not _separate and type(attn.to_q) is type(attn.to_k) is type(attn.to_v) is nn.Linear

    def heads(self, attn: AttentionModule, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return normed queries and keys, rows x tokens x 2 * heads x channels, and values, with half as many heads.

        The norm rounds as diffusers' RMSNorm does: to the hidden states' dtype before its weight and after it.
        """
        products = functional.linear(hidden, self.weight).view(*hidden.shape[:-1], 3, attn.heads, -1)
        both, values = products[..., :2, :, :], products[..., 2, :, :]
        if attn.norm_q is not None:
            weights = torch.stack((attn.norm_q.weight, attn.norm_k.weight)).unsqueeze(1)
            both = functional.rms_norm(both, both.shape[-1:], None, attn.norm_q.eps).to(weights.dtype) * weights
        return both.flatten(2, 3), values


def join_projections(transformer: Pipeline) -> int:
    """Join the projections of every attention that allows it; return how many there are.

    Where the three weights follow each other in memory, as on a GPU, nothing is copied; else they move to new memory, one
    attention after the other. Packed, streamed and adapted layers stay apart.
    """
    if hasattr(transformer, "_diffusers_hook"):
        return 0
    joined = 0
    for attention in _attentions(transformer):
        if not _can_join(attention):
            continue
        attention.processor.joined = JoinedProjections(_one_weight([attention.to_q, attention.to_k, attention.to_v]))
        joined += 1
    return joined


def separate_for_good(transformer: Pipeline) -> None:
    """Forget the joined weights, whose memory belongs to the layers."""
    for attention in _attentions(transformer):
        attention.processor.joined = None


def _attentions(transformer: Pipeline) -> list[AttentionModule]:
    return [
        module for module in transformer.modules() if isinstance(module, Attention) and hasattr(module.processor, "joined")
    ]


def _can_join(attention: AttentionModule) -> bool:
    layers = (attention.to_q, attention.to_k, attention.to_v)
    norms = (attention.norm_q, attention.norm_k)
    return (
        all(type(layer) is nn.Linear and not _has_bias(layer) and not hasattr(layer, "_diffusers_hook") for layer in layers)
        and len({(layer.weight.shape, layer.weight.dtype, layer.weight.device) for layer in layers}) == 1
        and attention.to_q.weight.dtype in FLOATS
        and (norms == (None, None) or all(type(norm) is RMSNorm and not _has_bias(norm) for norm in norms))
        and (norms[0] is None or norms[0].eps == norms[1].eps)
    )


def _has_bias(layer: nn.Module) -> bool:
    return getattr(layer, "bias", None) is not None


def _one_weight(layers: list[nn.Linear]) -> torch.Tensor:
    rows, columns = layers[0].weight.shape
    addresses = [layer.weight.data_ptr() for layer in layers]
    size = layers[0].weight.nbytes
    storages = {layer.weight.untyped_storage().data_ptr() for layer in layers}
    follow = [address - addresses[0] for address in addresses] == [0, size, 2 * size]
    if len(storages) == 1 and follow and all(layer.weight.is_contiguous() for layer in layers):
        return torch.as_strided(layers[0].weight.data, (3 * rows, columns), (columns, 1))
    joined = torch.cat([layer.weight.data for layer in layers])
    for layer, part in zip(layers, torch.chunk(joined, 3), strict=True):
        layer.weight.data = part
    return joined
