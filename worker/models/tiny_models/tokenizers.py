"""Byte-level tokenizers without merges: every byte is a token, so text in any language tokenizes."""

from __future__ import annotations

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, Qwen2Tokenizer

# Qwen3's chat template, reduced to what the pipelines use: user messages and the prompt to answer.
CHAT_TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}{%- endif %}"
)


def _byte_symbols() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Build a tokenizer of 256 bytes and three markers, with the chat template that Z-Image and FLUX.2 apply."""
    markers = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    vocab = {symbol: index for index, symbol in enumerate([*_byte_symbols(), *markers])}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        unk_token="<|endoftext|>",  # noqa: S106 - text, no secret
        eos_token="<|im_end|>",  # noqa: S106 - text, no secret
        pad_token="<|endoftext|>",  # noqa: S106 - text, no secret
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=131072,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:  # noqa: S107 - text, no secret
    """Build a tokenizer of 256 bytes, the same 256 at the end of a word, and two markers; cut at 77 tokens like CLIP's."""
    symbols = _byte_symbols()
    markers = ("<|startoftext|>", "<|endoftext|>")
    names = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *markers]
    vocab = {name: index for index, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77, pad_token=pad_token)
