"""Tiny ZImagePipeline: the architecture of Z-Image with about 0.6 million random weights."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

from worker.models.tiny_models.tokenizers import qwen_tokenizer

HIDDEN = 32
"""Width of the text encoder's states, the transformer's caption input."""
AXES_DIMS = [16, 8, 8]
"""Rotary dimensions per axis: each even, their sum is the width of one attention head."""


def tiny_z_image() -> ZImagePipeline:
    """Build it from torch's global generator: seed that first."""
    tokenizer = qwen_tokenizer()
    transformer = _transformer()
    text_encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=HIDDEN * 2,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False),
        vae=_vae().eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )


def _transformer() -> ZImageTransformer2DModel:
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=2 * sum(AXES_DIMS),
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=HIDDEN,
        axes_dims=AXES_DIMS,
        axes_lens=[1536, 512, 512],
    )
    for name, parameter in transformer.named_parameters():
        # The constructor leaves them at zero, and zero pad tokens would hide mistakes in padding.
        if name.endswith("pad_token"):
            torch.nn.init.normal_(parameter, std=0.02)
    return transformer


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=16,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        force_upcast=True,
        mid_block_add_attention=True,
        sample_size=1024,
    )
