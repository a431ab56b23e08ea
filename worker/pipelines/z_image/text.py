"""Encode prompts into caption embeddings, as ZImagePipeline does."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from core.render import LoraRequest
from worker.device.torch_device import to_device
from worker.models.libraries import Pipeline, Tokenizer

MAX_SEQUENCE_LENGTH = 512
"""ZImagePipeline's default: longer prompts are truncated."""

EXACT_FROM_PARAMETERS = 50_000_000
"""Text encoders of this size take a CPU seconds for 512 tokens; smaller ones pad everywhere, as the pipeline does."""


class CaptionKey(NamedTuple):
    """Everything that a caption's embedding depends on."""

    prompt: str
    loras: tuple[LoraRequest, ...]
    padded: bool


def encode_caption(pipeline: Pipeline, prompt: str, device: torch.device, padded: bool = True) -> torch.Tensor:
    """Return tokens x features on `device`: the text encoder's second-to-last hidden states.

    Padded to 512 tokens they equal the pipeline's own, to the bit. With causal attention no token attends to the padding
    behind it, so `padded=False` computes the same function for a fraction of the work, but with other kernels: the last
    bits differ.
    """
    inputs = pipeline.tokenizer(
        [_as_chat(pipeline.tokenizer, prompt)],
        padding="max_length" if padded else False,
        max_length=MAX_SEQUENCE_LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    states = pipeline.text_encoder(
        input_ids=to_device(inputs.input_ids, device),
        attention_mask=_mask(pipeline.text_encoder, inputs.attention_mask, device),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states[-2]
    kept = [index for index, is_kept in enumerate(inputs.attention_mask[0].tolist()) if is_kept]
    embedding: torch.Tensor = states[0].index_select(0, to_device(torch.tensor(kept), device))
    return embedding


def _mask(text_encoder: Any, tokens: torch.Tensor, device: torch.device) -> object:  # noqa: ANN401 - a transformers model
    """Build the attention mask that transformers would derive from the tokenizer's mask (1 x tokens), on the host.

    transformers reads the mask's values, and on a GPU such a read waits for all queued work.
    """
    values = tokens[0].tolist()
    is_known = text_encoder.config._attn_implementation == "sdpa" and not getattr(text_encoder, "has_sliding_layers", False)
    if not is_known or values != sorted(values, reverse=True):
        return tokens.to(device)
    if all(values):
        return {"full_attention": None}
    seen = torch.ones(len(values), len(values), dtype=torch.bool).tril() & tokens[0].bool()
    return {"full_attention": to_device(seen[None, None], device)}


def _as_chat(tokenizer: Tokenizer, prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    return str(text)
