"""The nodes of ComfyUI that a graph may have here, as data: inputs, outputs, and how `/object_info` describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

LinkType = Literal["MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "UPSCALE_MODEL"]
FileList = Literal["checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "upscale_models", "images"]
"""The lists of files that an input chooses from; all but `images` are names of ComfyUI's folders."""

MAX_SIDE = 16_384
MAX_COMFYUI_SEED = 2**64 - 1
SAMPLERS = (
    *("euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral"),
    *("lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu"),
    *("dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm"),
    *("ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral"),
    *("res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2", "seeds_3"),
    *("sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2"),
)
SCHEDULERS = (
    *("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic"),
    "kl_optimal",
)
IMAGE_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
LATENT_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
_CLIP_TYPES = (
    *("stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2", "wan"),
    *("hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image", "flux2", "ovis"),
)
_DUAL_CLIP_TYPES = ("sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image", "hunyuan_video_15", "kandinsky5")


@dataclass(frozen=True)
class Input:
    """One input. `kind` is a link's type, or INT, FLOAT, STRING; else `choices` or `files` say what it may be."""

    kind: str = "COMBO"
    options: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    files: FileList | None = None
    required: bool = True

    @property
    def is_link(self) -> bool:
        """Whether only another node can give the value."""
        return self.kind not in ("COMBO", "INT", "FLOAT", "STRING")


@dataclass(frozen=True)
class NodeKind:
    """One class of nodes. `outputs` are the types of its outputs in order; an output node has none."""

    inputs: Mapping[str, Input]
    outputs: tuple[LinkType, ...]
    title: str
    category: str

    @property
    def is_output(self) -> bool:
        """Whether a graph is read backwards from it."""
        return not self.outputs


def _link(kind: LinkType) -> Input:
    return Input(kind)


def _int(default: int, low: int, high: int, step: int = 1, **more: object) -> Input:
    return Input("INT", {"default": default, "min": low, "max": high, "step": step, **more})


def _float(default: float, low: float, high: float, step: float = 0.01) -> Input:
    return Input("FLOAT", {"default": default, "min": low, "max": high, "step": step})


def _text(default: str = "", *, multiline: bool = False) -> Input:
    return Input("STRING", {"multiline": True, "dynamicPrompts": True} if multiline else {"default": default})


def _choice(*choices: str, required: bool = True) -> Input:
    return Input(choices=choices, required=required)


def _files(name: FileList, **options: object) -> Input:
    return Input(files=name, options=options)


_SIDE = _int(512, 16, MAX_SIDE, 8)
_FACTOR = _float(1.5, 0.01, 8.0)
_LATENT_SIDE = _int(512, 0, MAX_SIDE, 8)
_IMAGE_SIDE = _int(512, 0, MAX_SIDE)
_CROP = _choice("disabled", "center")
_SEED = _int(0, 0, MAX_COMFYUI_SEED, control_after_generate=True)
_STEPS = _int(20, 1, 10_000)
_CFG = Input("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01})
_STRENGTH = _float(1.0, -100.0, 100.0)
_EMPTY = {"width": _SIDE, "height": _SIDE, "batch_size": _int(1, 1, 4096)}
_CONDITIONED = {"positive": _link("CONDITIONING"), "negative": _link("CONDITIONING"), "latent_image": _link("LATENT")}
_ENABLED = _choice("enable", "disable")

NODES: Mapping[str, NodeKind] = MappingProxyType(
    {
        "CheckpointLoaderSimple": NodeKind(
            {"ckpt_name": _files("checkpoints")}, ("MODEL", "CLIP", "VAE"), "Load Checkpoint", "loaders"
        ),
        "UNETLoader": NodeKind(
            {
                "unet_name": _files("diffusion_models"),
                "weight_dtype": _choice("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"),
            },
            ("MODEL",),
            "Load Diffusion Model",
            "advanced/loaders",
        ),
        "UnetLoaderGGUF": NodeKind({"unet_name": _files("diffusion_models")}, ("MODEL",), "Unet Loader (GGUF)", "bootleg"),
        "CLIPLoader": NodeKind(
            {
                "clip_name": _files("text_encoders"),
                "type": _choice(*_CLIP_TYPES),
                "device": _choice("default", "cpu", required=False),
            },
            ("CLIP",),
            "Load CLIP",
            "advanced/loaders",
        ),
        "CLIPLoaderGGUF": NodeKind(
            {"clip_name": _files("text_encoders"), "type": _choice(*_CLIP_TYPES)}, ("CLIP",), "CLIPLoader (GGUF)", "bootleg"
        ),
        "DualCLIPLoader": NodeKind(
            {
                "clip_name1": _files("text_encoders"),
                "clip_name2": _files("text_encoders"),
                "type": _choice(*_DUAL_CLIP_TYPES),
                "device": _choice("default", "cpu", required=False),
            },
            ("CLIP",),
            "DualCLIPLoader",
            "advanced/loaders",
        ),
        "VAELoader": NodeKind({"vae_name": _files("vae")}, ("VAE",), "Load VAE", "loaders"),
        "LoraLoader": NodeKind(
            {
                "model": _link("MODEL"),
                "clip": _link("CLIP"),
                "lora_name": _files("loras"),
                "strength_model": _STRENGTH,
                "strength_clip": _STRENGTH,
            },
            ("MODEL", "CLIP"),
            "Load LoRA",
            "loaders",
        ),
        "LoraLoaderModelOnly": NodeKind(
            {"model": _link("MODEL"), "lora_name": _files("loras"), "strength_model": _STRENGTH},
            ("MODEL",),
            "LoraLoaderModelOnly",
            "loaders",
        ),
        "ModelSamplingAuraFlow": NodeKind(
            {"model": _link("MODEL"), "shift": _float(1.73, 0.0, 100.0)},
            ("MODEL",),
            "ModelSamplingAuraFlow",
            "advanced/model",
        ),
        "CLIPTextEncode": NodeKind(
            {"text": _text(multiline=True), "clip": _link("CLIP")},
            ("CONDITIONING",),
            "CLIP Text Encode (Prompt)",
            "conditioning",
        ),
        "ConditioningZeroOut": NodeKind(
            {"conditioning": _link("CONDITIONING")}, ("CONDITIONING",), "ConditioningZeroOut", "advanced/conditioning"
        ),
        "ConditioningCombine": NodeKind(
            {"conditioning_1": _link("CONDITIONING"), "conditioning_2": _link("CONDITIONING")},
            ("CONDITIONING",),
            "Conditioning (Combine)",
            "conditioning",
        ),
        "EmptyLatentImage": NodeKind(_EMPTY, ("LATENT",), "Empty Latent Image", "latent"),
        "EmptySD3LatentImage": NodeKind(_EMPTY, ("LATENT",), "EmptySD3LatentImage", "latent/sd3"),
        "LoadImage": NodeKind({"image": _files("images", image_upload=True)}, ("IMAGE", "MASK"), "Load Image", "image"),
        "VAEEncode": NodeKind({"pixels": _link("IMAGE"), "vae": _link("VAE")}, ("LATENT",), "VAE Encode", "latent"),
        "VAEEncodeForInpaint": NodeKind(
            {
                "pixels": _link("IMAGE"),
                "vae": _link("VAE"),
                "mask": _link("MASK"),
                "grow_mask_by": _int(6, 0, 64),
            },
            ("LATENT",),
            "VAE Encode (for Inpainting)",
            "latent/inpaint",
        ),
        "LatentUpscale": NodeKind(
            {
                "samples": _link("LATENT"),
                "upscale_method": _choice(*LATENT_METHODS),
                "width": _LATENT_SIDE,
                "height": _LATENT_SIDE,
                "crop": _CROP,
            },
            ("LATENT",),
            "Upscale Latent",
            "latent",
        ),
        "LatentUpscaleBy": NodeKind(
            {"samples": _link("LATENT"), "upscale_method": _choice(*LATENT_METHODS), "scale_by": _FACTOR},
            ("LATENT",),
            "Upscale Latent By",
            "latent",
        ),
        "KSampler": NodeKind(
            {
                "model": _link("MODEL"),
                "seed": _SEED,
                "steps": _STEPS,
                "cfg": _CFG,
                "sampler_name": _choice(*SAMPLERS),
                "scheduler": _choice(*SCHEDULERS),
                **_CONDITIONED,
                "denoise": _float(1.0, 0.0, 1.0),
            },
            ("LATENT",),
            "KSampler",
            "sampling",
        ),
        "KSamplerAdvanced": NodeKind(
            {
                "model": _link("MODEL"),
                "add_noise": _ENABLED,
                "noise_seed": _SEED,
                "steps": _STEPS,
                "cfg": _CFG,
                "sampler_name": _choice(*SAMPLERS),
                "scheduler": _choice(*SCHEDULERS),
                **_CONDITIONED,
                "start_at_step": _int(0, 0, 10_000),
                "end_at_step": _int(10_000, 0, 10_000),
                "return_with_leftover_noise": _choice("disable", "enable"),
            },
            ("LATENT",),
            "KSampler (Advanced)",
            "sampling",
        ),
        "VAEDecode": NodeKind({"samples": _link("LATENT"), "vae": _link("VAE")}, ("IMAGE",), "VAE Decode", "latent"),
        "UpscaleModelLoader": NodeKind(
            {"model_name": _files("upscale_models")}, ("UPSCALE_MODEL",), "Load Upscale Model", "loaders"
        ),
        "ImageUpscaleWithModel": NodeKind(
            {"upscale_model": _link("UPSCALE_MODEL"), "image": _link("IMAGE")},
            ("IMAGE",),
            "Upscale Image (using Model)",
            "image/upscaling",
        ),
        "ImageScale": NodeKind(
            {
                "image": _link("IMAGE"),
                "upscale_method": _choice(*IMAGE_METHODS),
                "width": _IMAGE_SIDE,
                "height": _IMAGE_SIDE,
                "crop": _CROP,
            },
            ("IMAGE",),
            "Upscale Image",
            "image/upscaling",
        ),
        "ImageScaleBy": NodeKind(
            {"image": _link("IMAGE"), "upscale_method": _choice(*IMAGE_METHODS), "scale_by": _FACTOR},
            ("IMAGE",),
            "Upscale Image By",
            "image/upscaling",
        ),
        "SaveImage": NodeKind({"images": _link("IMAGE"), "filename_prefix": _text("ComfyUI")}, (), "Save Image", "image"),
        "PreviewImage": NodeKind({"images": _link("IMAGE")}, (), "Preview Image", "image"),
    }
)
"""ComfyUI's name of the class -> what it is."""


def choices_of(wanted: Input, files: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
    """Return the values that an input may have; None for one that is not chosen from a list."""
    if wanted.files is not None:
        return files.get(wanted.files, ())
    return wanted.choices if wanted.kind == "COMBO" else None


def object_info(name: str, files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what `/object_info` says about a class of nodes."""
    kind = NODES[name]
    groups: dict[str, dict[str, Any]] = {"required": {}}
    for key, wanted in kind.inputs.items():
        choices = choices_of(wanted, files)
        shape: list[Any] = [list(choices) if choices is not None else wanted.kind]
        group = groups.setdefault("required" if wanted.required else "optional", {})
        group[key] = [*shape, dict(wanted.options)] if wanted.options else shape
    return {
        "input": groups,
        "input_order": {group: list(inputs) for group, inputs in groups.items()},
        "output": list(kind.outputs),
        "output_is_list": [False] * len(kind.outputs),
        "output_name": list(kind.outputs),
        "name": name,
        "display_name": kind.title,
        "description": "",
        "python_module": "nodes",
        "category": kind.category,
        "output_node": kind.is_output,
        "deprecated": False,
        "experimental": False,
    }
