"""Prompts to caption embeddings, as ZImagePipeline makes them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from core.render import LoraRequest
from worker.pipelines.untyped import Pipeline, Tokenizer

MAX_SEQUENCE_LENGTH = 512
"""ZImagePipeline's default: longer prompts lose their tail."""


class CaptionKey(NamedTuple):
    """Everything that a caption's numbers depend on."""

    prompt: str
    loras: tuple[LoraRequest, ...]
    padded: bool


def encode_caption(pipeline: Pipeline, prompt: str, device: torch.device, padded: bool = True) -> torch.Tensor:
    """tokens x features, on `device`: the text encoder's second last hidden states.

    Padded to 512 tokens the numbers are the pipeline's own, to the bit. With causal attention no token sees the padding
    behind it, so `padded=False` computes the same function for a fraction of the work, but other kernels run: the
    last bits differ.
    """
    inputs = pipeline.tokenizer(
        [_as_chat(pipeline.tokenizer, prompt)],
        padding="max_length" if padded else False,
        max_length=MAX_SEQUENCE_LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    mask = inputs.attention_mask.to(device).bool()
    states = pipeline.text_encoder(
        input_ids=inputs.input_ids.to(device), attention_mask=mask, output_hidden_states=True
    ).hidden_states[-2]
    embedding: torch.Tensor = states[0][mask[0]]
    return embedding


def _as_chat(tokenizer: Tokenizer, prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    return str(text)
