"""Tiny Stable Diffusion pipelines: 1.x, 2.x (turbo) and XL, with the schedulers their repositories ship."""

from __future__ import annotations

from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from worker.models.tiny_models.tokenizers import clip_tokenizer

WIDTH = 16
"""Width of each text encoder's states."""
BETAS: dict[str, object] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CHANNELS = (8, 8, 16, 16)
TIME_DIM = 8


def tiny_sd1() -> StableDiffusionPipeline:
    """Build Stable Diffusion 1.x: PNDM, one CLIP text encoder."""
    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    return _sd_pipeline(scheduler, _unet(attention_head_dim=4))


def tiny_sd_turbo() -> StableDiffusionPipeline:
    """Build SD-Turbo: Stable Diffusion 2.1's architecture (linear projections), Euler on trailing timesteps."""
    scheduler = EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing", steps_offset=1)
    return _sd_pipeline(scheduler, _unet(attention_head_dim=[2, 2, 4, 4], use_linear_projection=True))


def tiny_sdxl_turbo() -> StableDiffusionXLPipeline:
    """Build SDXL-Turbo: two text encoders, size conditioning, ancestral Euler on trailing timesteps."""
    first, second = clip_tokenizer(), clip_tokenizer(pad_token="!")  # noqa: S106 - text, no secret
    unet = _unet(
        attention_head_dim=[2, 2, 4, 4],
        use_linear_projection=True,
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_DIM,
        projection_class_embeddings_input_dim=6 * TIME_DIM + WIDTH,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(scaling_factor=0.13025, force_upcast=True).eval(),
        text_encoder=CLIPTextModel(_clip_config(first)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(second)).eval(),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet.eval(),
        scheduler=EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing", steps_offset=1),
        add_watermarker=False,
    )


def _sd_pipeline(scheduler: SchedulerMixin, unet: UNet2DConditionModel) -> StableDiffusionPipeline:
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        vae=_vae(scaling_factor=0.18215).eval(),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)).eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _clip_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _unet(**changes: object) -> UNet2DConditionModel:
    config: dict[str, object] = {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": CHANNELS,
        "layers_per_block": 1,
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        "norm_num_groups": 4,
        "cross_attention_dim": WIDTH,
    }
    return UNet2DConditionModel(**(config | changes))


def _vae(**changes: object) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=512,
        **changes,
    )
