"""Names of tensors by which upscalers are told, and models that this project does not render."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from core.catalogue.weight_headers import TensorInfo

_BY_NAME: tuple[tuple[str, str], ...] = (
    ("control_all_x_embedder.2-1.weight", "a ControlNet for Z-Image"),
    ("control_layers.0.adaLN_modulation.0.weight", "a ControlNet for Z-Image"),
    ("control_model.time_embed.0.weight", "a ControlNet for Stable Diffusion"),
    ("controlnet_cond_embedding.conv_in.weight", "a ControlNet for Stable Diffusion"),
    ("input_hint_block.0.weight", "a ControlNet for Stable Diffusion"),
    ("controlnet_x_embedder.weight", "a ControlNet"),
    ("cap_embedder.0.weight", "Lumina 2"),
    ("joint_blocks.0.context_block.adaLN_modulation.1.bias", "Stable Diffusion 3"),
    ("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias", "HunyuanVideo"),
    ("distilled_guidance_layer.in_proj.bias", "Chroma"),
    ("distilled_guidance_layer.layers.0.in_layer.weight", "Chroma"),
    ("txt_in.text_norm.weight", "Qwen-Image 2.1, whose layers differ from Qwen-Image's"),
    ("early_stream_modulations.image.lin.weight", "FLUX.3"),
    ("ref_time_in.in_layer.weight", "FLUX.3"),
    ("double_blocks.0.img_attn.norm.key_norm.scale", "Flux.1"),
    ("single_transformer_blocks.0.norm.linear.weight", "Flux.1"),
    ("vace_blocks.0.after_proj.bias", "a Wan video model"),
    ("head.modulation", "a Wan video model"),
    ("patchify_proj.weight", "an LTX video model"),
    ("double_stream_blocks.0.block.adaLN_modulation.1.bias", "HiDream"),
    ("double_layers.0.attn.w2q.weight", "AuraFlow"),
    ("blocks.0.attn.qkv_x.weight", "a Mochi video model"),
    ("blocks.0.cross_attn.q_linear.weight", "PixArt or Sana"),
    ("net.x_embedder.proj.1.weight", "Cosmos"),
    ("txtfusion.projector.weight", "Krea 2"),
    ("clip_txt_mapper.weight", "Stable Cascade"),
    ("down_blocks.1.0.channelwise.0.weight", "Stable Cascade"),
    ("emb_params", "a textual inversion (an embedding)"),
    ("string_to_param.*", "a textual inversion (an embedding)"),
    ("encoder.block.0.layer.0.SelfAttention.q.weight", "a T5 text encoder, as Flux.1 and Stable Diffusion 3 use it"),
    ("enc.blk.0.attn_q.weight", "a T5 text encoder, as Flux.1 and Stable Diffusion 3 use it"),
    ("vision_model.embeddings.patch_embedding.weight", "a CLIP vision model"),
    ("decoder.layers.1.conv.0.weight", "a tiny autoencoder for previews (TAESD)"),
    ("1.conv.0.weight", "a tiny autoencoder for previews (TAESD)"),
    ("body.0.in_conv.weight", "a T2I adapter"),
    ("adapter.body.0.resnets.0.block1.weight", "a T2I adapter"),
)
_BY_PART: tuple[tuple[str, str], ...] = (
    ("motion_modules.", "a motion module of AnimateDiff"),
    ("ip_adapter.", "an IP-Adapter"),
    ("to_k_ip.", "an IP-Adapter"),
    ("zero_convs.", "a ControlNet for Stable Diffusion"),
    ("controlnet_blocks.", "a ControlNet"),
)


def foreign_kind(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, object]) -> str:
    """Return what a file of another program or model seems to be; "" when that is not known."""
    return named_kind(tensors) or _language_model(tensors, metadata)


def named_kind(tensors: Mapping[str, TensorInfo]) -> str:
    """Return what `foreign_kind` does, except for language models."""
    for name, what in _BY_NAME:
        if name in tensors or (name.endswith("*") and any(each.startswith(name[:-1]) for each in tensors)):
            return what
    for part, what in _BY_PART:
        if any(part in name for name in tensors):
            return what
    if set(tensors) and set(tensors) <= {"clip_l", "clip_g"}:
        return "a textual inversion (an embedding)"
    return ""


def _language_model(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, object]) -> str:
    name = metadata.get("general.architecture")
    if "token_embd.weight" in tensors:
        return f"a language model ({name})" if name else "a language model"
    if name in ("clip", "mmproj"):
        return "the vision part of a language model"
    if any(each.endswith("layers.0.self_attn.q_proj.weight") for each in tensors):
        return "a language model"
    return f"a GGUF file of the architecture {name}" if name else ""


def upscaler_kind(names: Collection[str]) -> str:
    """Return `ESRGAN`, `ESRGAN (compact)` or `SwinIR`; "" for anything else."""
    bare = {name.removeprefix("params_ema.").removeprefix("params.") for name in names}
    if {"conv_first.weight", "body.0.rdb1.conv1.weight"} <= bare:
        return "ESRGAN"
    if {"model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"} <= bare:
        return "ESRGAN"
    if _swin(bare):
        return "SwinIR"
    if {"body.0.weight", "body.1.weight", "body.2.weight"} <= bare and not bare & {"conv_first.weight", "body.0.0.weight"}:
        return "ESRGAN (compact)"
    return ""


def _swin(bare: set[str]) -> bool:
    table = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    # HAT and DAT have the same table, and blocks of their own.
    return {"conv_first.weight", table} <= bare and not any(
        ".conv_block." in name or ".overlap_attn." in name for name in bare
    )
