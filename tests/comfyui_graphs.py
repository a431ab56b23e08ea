"""Graphs in ComfyUI's API format: its own templates by their nodes, links and values, and the chains of its examples."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- values of any input
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def sampler(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 -- values of any input
    given = {
        "seed": 685468484323813, "steps": 20, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
    }  # fmt: skip
    return node("KSampler", **given | changes)


def checkpoint_template(
    name: str = "v1-5-pruned-emaonly-fp16.safetensors",
    side: int = 512,
    batch: int = 1,
    **changes: Any,  # noqa: ANN401
) -> Graph:
    """Return the template that ComfyUI opens with; SDXL's has the same nodes."""
    return {
        "3": sampler(**changes),
        "4": node("CheckpointLoaderSimple", ckpt_name=name),
        "5": node("EmptyLatentImage", width=side, height=side, batch_size=batch),
        "6": node("CLIPTextEncode", text="beautiful scenery nature glass bottle", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="SD1.5", images=["8", 0]),
    }


def z_image_template(side: int = 1024) -> Graph:
    """Return the template of Z-Image-Turbo: a subgraph, whose nodes have ids of two parts."""
    return {
        "9": node("SaveImage", filename_prefix="z-image-turbo", images=["57:8", 0]),
        "57:30": node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2", device="default"),
        "57:29": node("VAELoader", vae_name="ae.safetensors"),
        "57:33": node("ConditioningZeroOut", conditioning=["57:27", 0]),
        "57:8": node("VAEDecode", samples=["57:3", 0], vae=["57:29", 0]),
        "57:28": node("UNETLoader", unet_name="z_image_turbo_bf16.safetensors", weight_dtype="default"),
        "57:27": node("CLIPTextEncode", text="harbor boats and pastel houses. ", clip=["57:30", 0]),
        "57:13": node("EmptySD3LatentImage", width=side, height=side, batch_size=1),
        "57:11": node("ModelSamplingAuraFlow", shift=3, model=["57:28", 0]),
        "57:3": sampler(
            seed=0, steps=8, cfg=1, sampler_name="res_multistep", scheduler="simple", model=["57:11", 0],
            positive=["57:63", 0], negative=["57:33", 0], latent_image=["57:13", 0],
        ),
        "57:62": node("CLIPTextEncode", text="family friendly", clip=["57:30", 0]),
        "57:63": node("ConditioningCombine", conditioning_1=["57:27", 0], conditioning_2=["57:62", 0]),
    }  # fmt: skip


def refiner_template(name: str = "sd_xl_base_1.0.safetensors", side: int = 1024) -> Graph:
    """Return the template of SDXL with its refiner, which renders the last 5 of 25 steps."""
    given: dict[str, Any] = {"steps": 25, "cfg": 8, "sampler_name": "euler", "scheduler": "normal"}
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name=name),
        "5": node("EmptyLatentImage", width=side, height=side, batch_size=1),
        "6": node("CLIPTextEncode", text="evening sunset scenery blue sky nature, glass bottle", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
        "10": node(
            "KSamplerAdvanced", **given, add_noise="enable", noise_seed=721897303308196, start_at_step=0, end_at_step=20,
            return_with_leftover_noise="enable", model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "11": node(
            "KSamplerAdvanced", **given, add_noise="disable", noise_seed=0, start_at_step=20, end_at_step=10000,
            return_with_leftover_noise="disable", model=["12", 0], positive=["15", 0], negative=["16", 0],
            latent_image=["10", 0],
        ),
        "12": node("CheckpointLoaderSimple", ckpt_name="sd_xl_refiner_1.0.safetensors"),
        "15": node("CLIPTextEncode", text="evening sunset scenery blue sky nature, glass bottle", clip=["12", 1]),
        "16": node("CLIPTextEncode", text="text, watermark", clip=["12", 1]),
        "17": node("VAEDecode", samples=["11", 0], vae=["12", 2]),
        "19": node("SaveImage", filename_prefix="ComfyUI", images=["17", 0]),
    }  # fmt: skip


def latent_hires_template(name: str = "demo.safetensors", side: int = 64, batch: int = 1) -> Graph:
    """Return the example of hires by latents: twice sampled, the latents enlarged in between."""
    graph = checkpoint_template(name, side, batch, seed=5, steps=4, cfg=1, scheduler="simple")
    again = sampler(seed=6, steps=4, cfg=1, scheduler="simple", denoise=0.5, latent_image=["10", 0])
    return graph | {
        "10": node(
            "LatentUpscale",
            upscale_method="nearest-exact",
            width=side * 2,
            height=side * 2,
            crop="disabled",
            samples=["3", 0],
        ),
        "11": again,
        "12": node("SaveImage", filename_prefix="hires/second", images=["13", 0]),
        "13": node("VAEDecode", samples=["11", 0], vae=["4", 2]),
    }


def network_hires_template(name: str = "demo.safetensors", side: int = 64) -> Graph:
    """Return the example of hires by a network: decoded, enlarged 4 times, scaled down, encoded, sampled again."""
    graph = checkpoint_template(name, side, seed=5, steps=4, cfg=1, scheduler="simple")
    return graph | {
        "9": node("PreviewImage", images=["8", 0]),
        "14": node("UpscaleModelLoader", model_name="RealESRGAN_x4plus.pth"),
        "15": node("ImageUpscaleWithModel", upscale_model=["14", 0], image=["8", 0]),
        "16": node(
            "ImageScale", upscale_method="bilinear", width=side * 2, height=side * 2, crop="disabled", image=["15", 0]
        ),
        "17": node("VAEEncode", pixels=["16", 0], vae=["4", 2]),
        "11": sampler(seed=6, steps=4, cfg=1, scheduler="simple", denoise=0.5, latent_image=["17", 0]),
        "13": node("VAEDecode", samples=["11", 0], vae=["4", 2]),
        "12": node("SaveImage", filename_prefix="ComfyUI", images=["13", 0]),
    }


def image_to_image(image: str, name: str = "demo.safetensors", **changes: Any) -> Graph:  # noqa: ANN401
    """Return the example of image-to-image."""
    graph = checkpoint_template(name, seed=5, steps=4, cfg=1, denoise=0.5, latent_image=["12", 0], **changes)
    del graph["5"]
    return graph | {
        "10": node("LoadImage", image=image),
        "12": node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
    }


def inpaint(image: str, name: str = "demo.safetensors") -> Graph:
    """Return the example of inpainting: the transparent area of the image is painted anew."""
    graph = image_to_image(image, name)
    graph["3"]["inputs"]["denoise"] = 1
    graph["12"] = node("VAEEncodeForInpaint", pixels=["10", 0], vae=["4", 2], mask=["10", 1], grow_mask_by=6)
    return graph


def enlarged(name: str = "demo.safetensors", side: int = 64, network: str = "RealESRGAN_x4plus.pth") -> Graph:
    """Return the example of an upscale model: the finished image is enlarged, and nothing is rendered over it."""
    graph = checkpoint_template(name, side, seed=5, steps=4, cfg=1, scheduler="simple")
    return graph | {
        "14": node("UpscaleModelLoader", model_name=network),
        "15": node("ImageUpscaleWithModel", upscale_model=["14", 0], image=["8", 0]),
        "9": node("SaveImage", filename_prefix="big", images=["15", 0]),
    }
