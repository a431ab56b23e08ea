"""Random weights in Z-Image's published shape, saved like a user's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from core.catalogue import CatalogueModel, load_catalogue
from worker.models.folders import check_space
from worker.models.tiny_models import build_tiny_model
from worker.models.tiny_models.tokenizers import qwen_tokenizer

FULL_SIZE_BYTES = {torch.bfloat16: 21 * 10**9, torch.float32: 33 * 10**9}
"""Bytes of the whole folder, by the transformer's dtype; the rest is stored in bfloat16."""


def measured_model() -> CatalogueModel:
    """Return the measured model's catalogue row."""
    return load_catalogue().get("z-image-turbo")


def write_tiny_model(folder: Path) -> Path:
    """Write the tiny model of a dry run, stored in fp32."""
    return build_tiny_model(measured_model().id, folder)


def write_full_size(folder: Path, device: torch.device, stored: torch.dtype) -> Path:
    """Write weights made on the device, then free its memory; `stored` is the transformer's dtype on disk."""
    check_space(folder, FULL_SIZE_BYTES[stored], "Random weights")
    full_size_pipeline(device, stored).save_pretrained(str(folder), safe_serialization=True)
    return folder


def full_size_pipeline(device: torch.device, stored: torch.dtype) -> Any:  # noqa: ANN401 - a diffusers pipeline
    """Build a ZImagePipeline in its published shape."""
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline

    with torch.device(device):
        text_encoder, vae, transformer = _text_encoder(), _vae(), _transformer(stored)
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False),
        vae=vae.to(torch.bfloat16).eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=qwen_tokenizer(),
        transformer=transformer.eval(),
    )


def _transformer(dtype: torch.dtype) -> Any:  # noqa: ANN401 - a diffusers model
    from diffusers import ZImageTransformer2DModel

    transformer = _with_default_dtype(
        dtype, lambda: ZImageTransformer2DModel(axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512])
    )
    for parameter in transformer.parameters():  # Small enough that 8 steps of noise stay finite.
        if parameter.ndim > 1 and not parameter.is_meta:
            torch.nn.init.normal_(parameter, std=0.01)
    return transformer


def _text_encoder() -> Any:  # noqa: ANN401 - a transformers model
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
    )
    return _with_default_dtype(torch.bfloat16, lambda: Qwen3Model(config))


def _vae() -> Any:  # noqa: ANN401 - a diffusers model
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        latent_channels=16,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _with_default_dtype(dtype: torch.dtype, make: Any) -> Any:  # noqa: ANN401 - a model and its constructor
    """Build a model in `dtype`, without an fp32 intermediate."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return make()
    finally:
        torch.set_default_dtype(before)
