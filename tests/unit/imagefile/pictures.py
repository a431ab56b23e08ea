"""Pictures as other programs write them."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.imagefile.exif import user_comment_block

A1111 = (
    "a red fox, <lora:ink:0.8>, snow\nsecond line\nNegative prompt: blurry, (bad:1.3)\nSteps: 30, Sampler: DPM++ 2M, "
    "Schedule type: Karras, CFG scale: 6.5, Seed: 1234567, Size: 512x768, Model hash: 6ce0161689, "
    'Model: v1-5-pruned-emaonly, Clip skip: 2, Lora hashes: "ink: 0123456789ab", Version: v1.10.1'
)
CIVITAI = (
    "a fox\nNegative prompt: bad\nSteps: 25, Sampler: Euler a, CFG scale: 7, Seed: 99, Size: 832x1216, Clip skip: 2, "
    'Created Date: 2025-01-02T0304:05.678Z, Civitai resources: [{"type":"checkpoint","modelVersionId":290640,'
    '"modelName":"Pony, V6"},'
    '{"type":"lora","weight":0.7,"modelVersionId":1,"modelName":"ink"}], Civitai metadata: {"remixOfId":5}'
)
COMFY: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            **{"seed": 42, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0},
            **{"model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]},
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "SD1.5\\v1-5-pruned-emaonly-fp16.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a castle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "ink.safetensors", "strength_model": 0.8, "strength_clip": 1, "model": ["4", 0]},
    },
}
Z_IMAGE: dict[str, Any] = {
    "1": {"class_type": "UnetLoaderGGUF", "inputs": {"unet_name": "z_image_turbo-Q8_0.gguf"}},
    "2": {"class_type": "ModelSamplingAuraFlow", "inputs": {"shift": 3.0, "model": ["1", 0]}},
    "3": {"class_type": "PrimitiveString", "inputs": {"value": "山上的日出"}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": ["3", 0], "clip": ["11", 0]}},
    "5": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["4", 0]}},
    "6": {"class_type": "EmptySD3LatentImage", "inputs": {"width": ["7", 0], "height": 1024, "batch_size": 1}},
    "7": {"class_type": "PrimitiveInt", "inputs": {"value": 768}},
    "8": {
        "class_type": "KSampler",
        "inputs": {
            **{"seed": 2**60, "steps": 9, "cfg": 1, "sampler_name": "res_multistep", "scheduler": "simple", "denoise": 1},
            **{"model": ["2", 0], "positive": ["4", 0], "negative": ["5", 0], "latent_image": ["6", 0]},
        },
    },
    "9": {"class_type": "VAEDecode", "inputs": {"samples": ["8", 0], "vae": ["12", 0]}},
    "10": {"class_type": "SaveImage", "inputs": {"images": ["9", 0]}},
    "11": {"class_type": "CLIPLoader", "inputs": {"clip_name": "qwen_3_4b.safetensors", "type": "lumina2"}},
    "12": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
}
CUSTOM: dict[str, Any] = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux-2-klein-4b-fp8.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cup", "clip": ["20", 0]}},
    "3": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["2", 0]}},
    "4": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["3", 0], "negative": ["3", 0], "strength": 1}},
    "5": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["4", 0]}},
    "6": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
    "7": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "8": {"class_type": "BasicScheduler", "inputs": {"scheduler": "beta", "steps": 12, "denoise": 0.6, "model": ["1", 0]}},
    "9": {"class_type": "LoadImage", "inputs": {"image": "start.png"}},
    "10": {"class_type": "VAEEncode", "inputs": {"pixels": ["9", 0], "vae": ["21", 0]}},
    "11": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            **{"noise": ["6", 0], "guider": ["5", 0], "sampler": ["7", 0], "sigmas": ["8", 0], "latent_image": ["10", 0]},
        },
    },
    "12": {"class_type": "SaveImage", "inputs": {"images": ["13", 0]}},
    "13": {"class_type": "VAEDecode", "inputs": {"samples": ["11", 0]}},
}
INVOKE: dict[str, Any] = {
    "generation_mode": "sdxl_txt2img",
    "positive_prompt": "a lamp",
    "negative_prompt": "dark",
    "width": 1024,
    "height": 768,
    "seed": 77,
    "cfg_scale": 7.5,
    "steps": 28,
    "scheduler": "dpmpp_2m_k",
    "rand_device": "cpu",
    "model": {"key": "k", "hash": "blake3:1", "name": "stable-diffusion-xl-base-1-0", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"name": "ink", "base": "sdxl"}, "weight": 0.75}],
    "app_version": "5.6.0",
}
OLD_INVOKE: dict[str, Any] = {
    "model": "stable diffusion",
    "model_weights": "stable-diffusion-1.5",
    "app_version": "2.3.5",
    "image": {
        **{
            "prompt": [{"prompt": "a boat [fog]", "weight": 1.0}],
            "steps": 50,
            "cfg_scale": 7.5,
            "width": 512,
            "height": 512,
        },
        **{"seed": 3, "sampler": "k_lms", "type": "txt2img"},
    },
}
FOOOCUS: dict[str, Any] = {
    "base_model": "juggernautXL_v8Rundiffusion",
    "base_model_hash": "aeb7e9e689",
    "full_prompt": ["a dog, cinematic"],
    "guidance_scale": 4,
    "loras": [["sd_xl_offset_example-lora_1.0", 0.1, "4852686128"]],
    "metadata_scheme": "fooocus",
    "negative_prompt": "ugly",
    "performance": "Speed",
    "prompt": "a dog",
    "resolution": "(1152, 896)",
    "sampler": "dpmpp_2m_sde_gpu",
    "seed": "5678",
    "steps": 30,
    "styles": "['Fooocus V2']",
    "version": "Fooocus v2.5.5",
}
NOVEL: dict[str, Any] = {
    **{"prompt": "1girl, rain", "uc": "lowres", "steps": 28, "height": 1216, "width": 832, "scale": 5.0, "seed": 4242},
    **{"sampler": "k_euler_ancestral", "noise_schedule": "karras", "request_type": "PromptGenerateRequest"},
    "v4_prompt": {"caption": {"base_caption": "1girl, rain", "char_captions": [{"char_caption": "girl, umbrella"}]}},
}
EXTRA: dict[str, Any] = {
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "x"}},
    "extra": {"airs": ["urn:air:sdxl:checkpoint:civitai:1@2"]},
    "extraMetadata": json.dumps(
        {"prompt": "a bird", "negativePrompt": "bad", "cfgScale": 6, "sampler": "Euler", "steps": 24, "seed": 8,
         "width": 1024, "height": 1024, "baseModel": "SDXL 1.0", "resources": [{"modelVersionId": 2, "strength": 1}]}
    ),
}  # fmt: skip


def png(**texts: str) -> bytes:
    """Return a small PNG with these texts."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key.replace("_dash_", "-"), text)
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def with_comment(text: str, kind: str = "JPEG") -> bytes:
    """Return a JPEG or WebP whose EXIF UserComment is in UTF-16, as A1111 and Civitai write it."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, kind, exif=user_comment_block(text, "x"))
    return file.getvalue()


def comfy_webp(graph: dict[str, Any]) -> bytes:
    """Return a WebP as ComfyUI writes it, with the graph in the EXIF tag of the camera's model."""
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(graph)
    exif[0x010F] = "workflow:" + json.dumps({"nodes": []})
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, "WEBP", exif=exif)
    return file.getvalue()


def fooocus_jpeg(given: dict[str, Any]) -> bytes:
    """Return a JPEG as Fooocus writes it, with both texts in the main directory of EXIF."""
    exif = Image.Exif()
    exif[0x9286] = json.dumps(given)
    exif[0x927C] = "fooocus"
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, "JPEG", exif=exif)
    return file.getvalue()


def late_text_png(keyword: bytes, text: bytes) -> bytes:
    """Return a PNG whose text comes after the pixels."""
    import zlib

    body = b"tEXt" + keyword + b"\0" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = png()
    return data[:-12] + chunk + data[-12:]
