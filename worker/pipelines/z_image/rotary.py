"""Attention of Z-Image whose queries and keys are turned by real numbers where a compiler is to fuse it."""

from __future__ import annotations

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_z_image import ZSingleStreamAttnProcessor

from worker.pipelines.untyped import Attention


class RotaryProcessor(ZSingleStreamAttnProcessor):  # type: ignore[misc]  # diffusers is untyped
    """The stock one while `freqs_cis` is complex, as it is by default.

    torch's compiler leaves complex products alone. With `freqs_cis` as pairs of real numbers (rows x tokens x half a head x
    2) the same sums are made of real ones, equal to the bit on a CPU, which it fuses with what stands before and after.
    Run uncompiled they are slower.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        freqs_cis: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """rows x tokens x channels; `attention_mask`: rows x tokens."""
        if freqs_cis is None or freqs_cis.is_complex():
            stock: torch.Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, freqs_cis)
            return stock
        mask = None if attention_mask is None else attention_mask[:, None, None, :]
        heads = [project(hidden_states).unflatten(-1, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)]
        attended = dispatch_attention_fn(
            turned(_normed(attn.norm_q, heads[0]), freqs_cis),
            turned(_normed(attn.norm_k, heads[1]), freqs_cis),
            heads[2],
            attn_mask=mask,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        output: torch.Tensor = attn.to_out[1](attn.to_out[0](attended.flatten(2, 3).to(hidden_states.dtype)))
        return output


def _normed(norm: torch.nn.Module | None, heads: torch.Tensor) -> torch.Tensor:
    normed: torch.Tensor = heads if norm is None else norm(heads)
    return normed


def turned(heads: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rotary embedding in fp32. `heads`: rows x tokens x heads x channels; `positions`: rows x tokens x channels/2 x 2."""
    real, imaginary = heads.float().reshape(*heads.shape[:-1], -1, 2).unbind(-1)
    cosine, sine = positions.unsqueeze(2).unbind(-1)
    pairs = torch.stack((real * cosine - imaginary * sine, real * sine + imaginary * cosine), -1)
    return pairs.flatten(3).type_as(heads)
