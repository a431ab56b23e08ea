"""Find the components in a weight file by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.catalogue.catalogue import Architecture, Component
from core.catalogue.weight_headers import TensorInfo

Tensors = Mapping[str, TensorInfo]

DENOISER_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.", "")
TEXT_PREFIXES: tuple[tuple[str, Component], ...] = (
    ("conditioner.embedders.0.transformer.", "text_encoder"),
    ("conditioner.embedders.1.model.", "text_encoder_2"),
    ("cond_stage_model.transformer.", "text_encoder"),
    ("cond_stage_model.model.", "text_encoder"),
    ("cond_stage_model.", "text_encoder"),
    ("text_encoders.qwen3_4b.transformer.", "text_encoder"),
    ("text_encoders.qwen3_4b.", "text_encoder"),
    ("text_encoders.qwen25_7b.transformer.", "text_encoder"),
    ("text_encoders.clip_l.transformer.", "text_encoder"),
    ("text_encoders.clip_g.transformer.", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
    ("", "text_encoder"),
)
_SD: tuple[Architecture, ...] = ("sd15", "sd21", "sdxl")
_CHANNELS = {
    9: "an inpainting model with a mask as input",
    8: "an InstructPix2Pix model",
    5: "a depth model",
    7: "an upscaling model",
}


@dataclass(frozen=True)
class Part:
    """One component, the models that it fits, and its name for people; `other` when it is a near relative that none fits."""

    component: Component
    architectures: tuple[Architecture, ...]
    title: str
    other: str = ""


def without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors below a prefix, without it."""
    if not prefix:
        return tensors
    return {name[len(prefix) :]: info for name, info in tensors.items() if name.startswith(prefix)}


def find_parts(tensors: Tensors) -> list[Part]:
    """Return the components that the file holds: the denoiser, text encoders, the VAE."""
    found: list[Part] = []
    for prefix in DENOISER_PREFIXES:
        if (below := without_prefix(tensors, prefix)) and (part := _denoiser(below)):
            found.append(part)
            break
    for prefix, component in TEXT_PREFIXES:
        taken = {part.component for part in found}
        if (
            component not in taken
            and (below := without_prefix(tensors, prefix))
            and (part := _text_encoder(below, component))
        ):
            found.append(part)
    for prefix in VAE_PREFIXES:
        if (below := without_prefix(tensors, prefix)) and (part := _vae(below)):
            found.append(part)
            break
    return found


def _denoiser(tensors: Tensors) -> Part | None:
    return next((part for test in _DENOISERS if (part := test(tensors))), None)


def _z_image(tensors: Tensors) -> Part | None:
    fused = "layers.0.attention.qkv.weight" in tensors or "layers.0.attention.to_q.weight" in tensors
    marks = {"cap_embedder.0.weight", "layers.0.adaLN_modulation.0.weight"}
    if not (marks <= tensors.keys() and fused):
        return None
    if "control_layers.0.adaLN_modulation.0.weight" in tensors:
        return None
    return Part("transformer", ("z-image",), "Z-Image's transformer")


def _qwen_image(tensors: Tensors) -> Part | None:
    marks = {"txt_norm.weight", "transformer_blocks.0.img_mod.1.weight"}
    return Part("transformer", ("qwen-image",), "Qwen-Image's transformer") if marks <= tensors.keys() else None


def _flux2(tensors: Tensors) -> Part | None:
    if not tensors.keys() & {"single_stream_modulation.lin.weight", "single_stream_modulation.linear.weight"}:
        return None
    text = tensors.get("txt_in.weight") or tensors.get("context_embedder.weight")
    guided = tensors.keys() & {"guidance_in.in_layer.weight", "time_guidance_embed.guidance_embedder.linear_1.weight"}
    if guided:
        return Part("transformer", (), "", "FLUX.2 dev")
    if text and text.shape[-1] == 12288:
        return Part("transformer", (), "", "FLUX.2 klein 9B")
    return Part("transformer", ("flux2-klein",), "FLUX.2 klein's transformer")


def _ldm_unet(tensors: Tensors) -> Part | None:
    first = tensors.get("input_blocks.0.0.weight")
    if first is None or "time_embed.0.weight" not in tensors or "input_hint_block.0.weight" in tensors:
        return None
    if first.shape[1:2] and (what := _CHANNELS.get(first.shape[1])):
        return Part("unet", (), "", f"{what} of the Stable Diffusion family")
    if "label_emb.0.0.weight" in tensors:
        return _sdxl_unet(tensors, "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight")
    return _sd_unet(tensors, "input_blocks.1.1.proj_in.weight")


def _diffusers_unet(tensors: Tensors) -> Part | None:
    first = tensors.get("conv_in.weight")
    if first is None or not {"time_embedding.linear_1.weight", "down_blocks.0.resnets.0.norm1.weight"} <= tensors.keys():
        return None
    if any(name.startswith("controlnet_") for name in tensors):
        return None
    if first.shape[1:2] and (what := _CHANNELS.get(first.shape[1])):
        return Part("unet", (), "", f"{what} of the Stable Diffusion family")
    if "add_embedding.linear_1.weight" in tensors:
        return _sdxl_unet(tensors, "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    return _sd_unet(tensors, "down_blocks.0.attentions.0.proj_in.weight")


def _sdxl_unet(tensors: Tensors, key: str) -> Part:
    if (info := tensors.get(key)) and info.shape[-1] == 1280:
        return Part("unet", (), "", "the refiner of Stable Diffusion XL")
    return Part("unet", ("sdxl",), "Stable Diffusion XL's UNet")


def _sd_unet(tensors: Tensors, key: str) -> Part:
    projection = tensors.get(key)
    if projection and len(projection.shape) == 2:
        return Part("unet", ("sd21",), "Stable Diffusion 2's UNet")
    return Part("unet", ("sd15",), "Stable Diffusion 1's UNet")


_DENOISERS: tuple[Callable[[Tensors], Part | None], ...] = (_z_image, _qwen_image, _flux2, _ldm_unet, _diffusers_unet)


def _text_encoder(tensors: Tensors, component: Component) -> Part | None:
    return _qwen3(tensors) or _qwen_vl(tensors) or _clip(tensors, component)


_OTHER_QWEN3 = {1024: "Qwen3-0.6B", 2048: "Qwen3-1.7B", 4096: "Qwen3-8B", 5120: "Qwen3-14B or 32B"}


def _qwen3(tensors: Tensors) -> Part | None:
    marks = (
        ("model.embed_tokens.weight", "model.layers.0.self_attn.q_norm.weight"),
        ("embed_tokens.weight", "layers.0.self_attn.q_norm.weight"),
        ("token_embd.weight", "blk.0.attn_q_norm.weight"),
    )
    embedding = next((tensors[first] for first, second in marks if first in tensors and second in tensors), None)
    if embedding is None or any(".mlp.experts." in name or "ffn_gate_exps" in name for name in tensors):
        return None
    if any(name.startswith(("visual.", "model.visual.")) for name in tensors):
        return Part("text_encoder", (), "", "a Qwen3-VL language model")
    if other := _OTHER_QWEN3.get(embedding.shape[-1]):
        return Part("text_encoder", (), "", f"{other}; Z-Image and FLUX.2 klein 4B use Qwen3-4B")
    return Part("text_encoder", ("z-image", "flux2-klein"), "the text encoder Qwen3-4B")


def _qwen_vl(tensors: Tensors) -> Part | None:
    biased = tensors.keys() & {"model.layers.0.self_attn.q_proj.bias", "model.language_model.layers.0.self_attn.q_proj.bias"}
    visual = any(name.startswith(("visual.blocks.", "model.visual.blocks.")) for name in tensors)
    if not (biased and visual):
        return None
    return Part("text_encoder", ("qwen-image",), "the text encoder Qwen2.5-VL-7B")


_CLIP_MODELS: Mapping[int, tuple[Component, tuple[Architecture, ...], str]] = {
    768: ("text_encoder", ("sd15", "sdxl"), "the text encoder CLIP ViT-L"),
    1024: ("text_encoder", ("sd21",), "the text encoder OpenCLIP ViT-H"),
    1280: ("text_encoder_2", ("sdxl",), "the text encoder OpenCLIP ViT-bigG"),
}


def _clip(tensors: Tensors, component: Component) -> Part | None:
    openclip = {"token_embedding.weight", "transformer.resblocks.0.attn.in_proj_weight"} <= tensors.keys()
    name = "token_embedding.weight" if openclip else "embeddings.token_embedding.weight"
    # transformers 5 leaves `text_model.` out when it saves a CLIPTextModel.
    prefixes = ("",) if openclip else ("text_model.", "transformer.text_model.", "")
    embedding = next((tensors[prefix + name] for prefix in prefixes if prefix + name in tensors), None)
    if embedding is None or (not openclip and "embeddings.patch_embedding.weight" in tensors):
        return None
    if found := _CLIP_MODELS.get(embedding.shape[-1]):
        return Part(*found)
    if component == "text_encoder_2" or (not openclip and "text_projection.weight" in tensors):
        component = "text_encoder_2"
        return Part(component, ("sdxl",), "the text encoder OpenCLIP ViT-bigG")
    if openclip:
        return Part("text_encoder", ("sd21",), "the text encoder OpenCLIP ViT-H")
    return Part("text_encoder", ("sd15", "sdxl"), "the text encoder CLIP ViT-L")


def _vae(tensors: Tensors) -> Part | None:
    first = tensors.get("decoder.conv_in.weight")
    if "decoder.middle.0.residual.0.gamma" in tensors or (first and len(first.shape) == 5):
        return Part("vae", ("qwen-image",), "the VAE of Qwen-Image (Wan 2.1's has the same form)")
    if first is None or len(first.shape) != 4 or "encoder.conv_in.weight" not in tensors:
        return None
    channels = first.shape[1]
    if channels == 32 or "bn.running_mean" in tensors:
        return Part("vae", ("flux2-klein",), "the VAE of FLUX.2")
    if channels == 16:
        return Part("vae", ("z-image",), "the VAE of Flux.1, which Z-Image uses (Stable Diffusion 3's has the same form)")
    if channels == 4:
        return Part("vae", _SD, "a VAE of the Stable Diffusion family")
    return None
