"""Write a folder like ComfyUI's `models/` with a few models whose weights are holes."""

from __future__ import annotations

from pathlib import Path

from tests.unit.models import weight_samples as samples


def write_comfy(root: Path) -> Path:
    """Write Z-Image in two forms, an SD checkpoint, a UNet without text encoder, LoRAs, an upscaler, and oddities."""
    samples.write_safetensors(root / "diffusion_models" / "z_image_turbo_bf16.safetensors", samples.z_image())
    tensors = {name: row for name, row in samples.z_image().items() if name != "x_embedder.weight"}
    samples.write_gguf(root / "unet" / "sub" / "z_image_turbo-Q8_0.gguf", tensors, "Q8_0", "lumina2")
    samples.write_safetensors(root / "unet" / "lonely.safetensors", samples.unet("sd21"))
    samples.write_safetensors(root / "text_encoders" / "qwen_3_4b.safetensors", samples.qwen3())
    samples.write_gguf(root / "clip" / "Qwen3-4B-Q6_K.gguf", samples.qwen3_gguf(), "Q6_K", "qwen3")
    samples.write_safetensors(root / "vae" / "ae.safetensors", samples.vae(16))
    samples.write_safetensors(root / "checkpoints" / "Dream Shaper_8.safetensors", samples.checkpoint("sd15"))
    samples.write_safetensors(root / "loras" / "style.safetensors", samples.lora("diffusion_model.layers.0.attention.to_q"))
    upscaler = {"conv_first.weight": ("F32", [8, 3, 3, 3]), "body.0.rdb1.conv1.weight": ("F32", [8, 8, 3, 3])}
    samples.write_safetensors(root / "upscale_models" / "x4.safetensors", upscaler)
    (root / "loras" / "broken.safetensors").write_bytes(b"<html>")
    (root / "loras" / "readme.txt").write_text("no weights")
    (root / "loras" / ".hidden.safetensors").write_bytes(b"")
    (root / "embeddings").mkdir()
    return root
