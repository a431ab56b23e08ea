"""The stock Z-Image transformer, split into the work per image and the work per step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import diffusers
import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_z_image import FeedForward, ZSingleStreamAttnProcessor
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from worker.models.joined_projections import JoinedProjections
from worker.models.libraries import AttentionModule

PATCH_SIZE, FRAME_PATCH_SIZE = 2, 1
EMBEDDER = f"{PATCH_SIZE}-{FRAME_PATCH_SIZE}"


@dataclass(frozen=True)
class PaddedRows:
    """`hidden`: rows x tokens x channels; `positions` likewise; `mask`: rows x tokens, None if all lengths are equal."""

    hidden: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None


def pad_rows(rows: Sequence[torch.Tensor], positions: Sequence[torch.Tensor]) -> PaddedRows:
    """Pad rows to one length. `rows`: each tokens x channels; `positions`: of each row, as in `Context`."""
    lengths = [len(row) for row in rows]
    if len(set(lengths)) == 1:
        return PaddedRows(_stacked(rows), _stacked(positions), None)
    mask = torch.zeros((len(rows), max(lengths)), dtype=torch.bool, device=rows[0].device)
    for index, length in enumerate(lengths):
        mask[index, :length] = True
    return PaddedRows(pad_sequence(list(rows), batch_first=True), pad_sequence(list(positions), batch_first=True), mask)


def _stacked(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack rows; a single one is not copied."""
    return torch.stack(list(rows)) if len(rows) > 1 else rows[0].unsqueeze(0)


class RotaryProcessor(ZSingleStreamAttnProcessor):  # type: ignore[misc]  # diffusers is untyped
    """The stock processor while `freqs_cis` is complex, as it is by default.

    torch's compiler does not fuse complex products. With `freqs_cis` as pairs of real numbers (rows x tokens x half a head
    x 2) the same sums are computed in real arithmetic, bit-identical on a CPU, and fused with the surrounding operations.
    Uncompiled, real numbers are slower. `joined`: one weight for queries, keys and values, used by requests that are not
    strict and have no adapters.
    """

    joined: JoinedProjections | None = None

    def __call__(
        self,
        attn: AttentionModule,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        freqs_cis: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend over rows x tokens x channels; `attention_mask`: rows x tokens."""
        if self.joined is not None and freqs_cis is not None and self.joined.suit(attn):
            both, values = self.joined.heads(attn, hidden_states)
            query, key = rotate(both, freqs_cis).chunk(2, dim=2)
            return self._attend(attn, (query, key, values), attention_mask, hidden_states.dtype)
        if freqs_cis is None or freqs_cis.is_complex():
            stock: torch.Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, freqs_cis)
            return stock
        heads = [project(hidden_states).unflatten(-1, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)]
        query = rotate(_normed(attn.norm_q, heads[0]), freqs_cis)
        key = rotate(_normed(attn.norm_k, heads[1]), freqs_cis)
        return self._attend(attn, (query, key, heads[2]), attention_mask, hidden_states.dtype)

    def _attend(
        self,
        attn: AttentionModule,
        heads: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        attended = dispatch_attention_fn(
            *heads,
            attn_mask=None if attention_mask is None else attention_mask[:, None, None, :],
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        output: torch.Tensor = attn.to_out[1](attn.to_out[0](attended.flatten(2, 3).to(dtype)))
        return output


def _normed(norm: torch.nn.Module | None, heads: torch.Tensor) -> torch.Tensor:
    normed: torch.Tensor = heads if norm is None else norm(heads)
    return normed


def rotate(heads: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rotate in fp32. `heads`: rows x tokens x heads x channels; `positions`: rows x tokens x channels/2, complex or x 2."""
    if positions.is_complex():
        turned = torch.view_as_complex(heads.float().reshape(*heads.shape[:-1], -1, 2)) * positions.unsqueeze(2)
        return torch.view_as_real(turned).flatten(3).type_as(heads)
    real, imaginary = heads.float().reshape(*heads.shape[:-1], -1, 2).unbind(-1)
    cosine, sine = positions.unsqueeze(2).unbind(-1)
    pairs = torch.stack((real * cosine - imaginary * sine, real * sine + imaginary * cosine), -1)
    return pairs.flatten(3).type_as(heads)


@dataclass(frozen=True)
class Context:
    """Step-invariant conditioning of one row of a pass.

    `caption`: refined, padded tokens x channels. `positions`: rotary factors, (image + caption tokens, both padded) x half a
    head, complex; as real numbers, x 2, where the blocks are compiled for a GPU. `image_tokens`: padded.
    """

    caption: torch.Tensor
    positions: torch.Tensor
    image_tokens: int


@dataclass(frozen=True)
class Prepare:
    """Call for the contexts of one image's rows. `latents`: 16 x 1 x h/8 x w/8; `captions`: tokens x features.

    `uncompiled`: bypass compiled blocks.
    """

    latents: Sequence[torch.Tensor]
    captions: Sequence[torch.Tensor]
    uncompiled: bool = False


@dataclass(frozen=True)
class Predict:
    """Call for one step of any rows. `timesteps`: one number per row, 0 is pure noise, 1 the finished image."""

    latents: Sequence[torch.Tensor]
    timesteps: torch.Tensor
    contexts: Sequence[Context]


class ZImageTransformer2DModel(diffusers.ZImageTransformer2DModel):  # type: ignore[misc]  # diffusers is untyped
    """Diffusers' class (0.42, `transformer_z_image.py`) under the same name, by which peft finds its mappings.

    Captions and positions are the same in all steps of an image, yet the stock forward embeds and refines them at each.
    Called with `Prepare` and then, at each step, with `Predict`, an image alone in its pass is bit-identical to the stock
    forward's. Stock calls behave as in the stock class.
    """

    @wraps(diffusers.ZImageTransformer2DModel.__init__)  # type: ignore[misc]  # Its signature: the configuration's keys.
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the stock class's
        super().__init__(*args, **kwargs)
        for module in self.modules():
            if isinstance(module, Attention):
                module.set_processor(RotaryProcessor())

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - three kinds of calls
        """Return (refined captions, positions) for `Prepare`, a prediction per row for `Predict`, else the stock result.

        The stock parameter name `x` stays, since some pipelines pass it by keyword.
        """
        if isinstance(x, Prepare):
            return self._prepare(x)
        if isinstance(x, Predict):
            return self._predict(x)
        return super().forward(x, *args, **kwargs)

    @property
    def has_compiled_blocks(self) -> bool:
        """Whether requests that do not bypass them run compiled blocks."""
        return self.layers[0]._compiled_call_impl is not None

    def contexts(self, call: Prepare) -> list[Context]:
        """Return the contexts of the image's rows."""
        captions, positions = self(call)
        return [Context(c, p, len(p) - len(c)) for c, p in zip(captions, positions, strict=True)]

    def _prepare(self, call: Prepare) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        _, captions, _, image_ids, caption_ids, _, padding = self.patchify_and_embed(
            list(call.latents), list(call.captions), PATCH_SIZE, FRAME_PATCH_SIZE
        )
        lengths = [len(caption) for caption in captions]
        embedded = self.cap_embedder(torch.cat(captions)).split(lengths)
        refined, positions, mask, _, _ = self._prepare_sequence(
            list(embedded), caption_ids, padding, self.cap_pad_token, None, call.latents[0].device
        )
        for layer in self.context_refiner:
            refined = layer(refined, mask, self._for_blocks(positions, call.uncompiled))
        # Cloned: the output of a block in a CUDA graph is overwritten when the graph runs again.
        kept = [row[:length].clone() for row, length in zip(refined, lengths, strict=True)]
        # For a padded caption the stock code makes more positions than tokens, and cuts them in the same way.
        ids = [torch.cat([image, caption[:n]]) for image, caption, n in zip(image_ids, caption_ids, lengths, strict=True)]
        return kept, [self._for_blocks(self.rope_embedder(each), call.uncompiled) for each in ids]

    def _for_blocks(self, positions: torch.Tensor, uncompiled: bool) -> torch.Tensor:
        """Return real numbers for blocks compiled for a GPU; on a CPU they were slower (70 against 66 ms a step)."""
        if uncompiled or not self.has_compiled_blocks:
            return positions
        # Contiguous: other strides, as of a slice, would compile another graph.
        return (torch.view_as_real(positions) if positions.is_cuda else positions).contiguous()

    def _predict(self, call: Predict) -> list[torch.Tensor]:
        # Arguments by position as in the stock forward, so that compiled blocks see one signature.
        conditioning = (self.t_embedder(call.timesteps * self.t_scale).type_as(call.latents[0]), None, None, None)
        images, sizes = self._embed(call)
        positions = [each.positions[: each.image_tokens] for each in call.contexts]
        for_images = pad_rows(images, positions)
        hidden = for_images.hidden
        for layer in self.noise_refiner:
            hidden = layer(hidden, for_images.mask, for_images.positions, *conditioning)
        rows = [torch.cat([row[: each.image_tokens], each.caption]) for row, each in zip(hidden, call.contexts, strict=True)]
        unified = pad_rows(rows, [each.positions for each in call.contexts])
        hidden = unified.hidden
        for layer in self.layers:
            hidden = layer(hidden, unified.mask, unified.positions, *conditioning)
        hidden = self.all_final_layer[EMBEDDER](hidden, c=conditioning[0])
        predictions: list[torch.Tensor] = self.unpatchify(list(hidden.unbind(0)), sizes, PATCH_SIZE, FRAME_PATCH_SIZE)
        return predictions

    def _embed(self, call: Predict) -> tuple[list[torch.Tensor], list[tuple[int, ...]]]:
        """Return for each row its embedded patches, padded tokens x channels, and its latents' frames, height and width."""
        patches, sizes = [], []
        for latents, context in zip(call.latents, call.contexts, strict=True):
            found, size, _ = self._patchify_image(latents, PATCH_SIZE, FRAME_PATCH_SIZE)
            missing = context.image_tokens - len(found)
            # Padded before embedding, as the stock forward does: other lengths would run other kernels.
            patches.append(torch.cat([found, found[-1:].expand(missing, -1)]) if missing else found)
            sizes.append(size)
        lengths = [len(each) for each in patches]
        embedded = self.all_x_embedder[EMBEDDER](torch.cat(patches)).split(lengths)
        return [self._with_pad_tokens(row, size) for row, size in zip(embedded, sizes, strict=True)], sizes

    def _with_pad_tokens(self, row: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        frames, height, width = size
        own = (frames // FRAME_PATCH_SIZE) * (height // PATCH_SIZE) * (width // PATCH_SIZE)
        if own == len(row):
            return row
        return torch.cat([row[:own], self.x_pad_token.to(row.dtype).expand(len(row) - own, -1)])


def gate_in_place(module: nn.Module) -> None:
    """Make every Z-Image feed-forward within apply its gate in place; other models have no such class."""
    for each in module.modules():
        if isinstance(each, FeedForward):
            each._forward_silu_gating = _silu_in_place


def _silu_in_place(gate: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Compute the class's own gating; both inputs are fresh matmul outputs, so overwriting the first is safe."""
    return functional.silu(gate, inplace=True).mul_(values)
