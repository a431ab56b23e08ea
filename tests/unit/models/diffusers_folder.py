"""Write folders in diffusers' layout whose weight files hold a few zeros, for code that only inspects files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

COMPONENTS = {
    "transformer": ["diffusers", "ZImageTransformer2DModel"],
    "text_encoder": ["transformers", "Qwen3Model"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
}


def write_safetensors(file: Path, shapes: dict[str, list[int]]) -> None:
    """Write a valid fp32 file of zeros."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def write_model(directory: Path, pipeline: str = "ZImagePipeline") -> Path:
    """Write a complete model."""
    directory.mkdir(parents=True, exist_ok=True)
    index = {"_class_name": pipeline, "_diffusers_version": "0.42.1", **COMPONENTS}
    (directory / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    for name in ("transformer", "text_encoder", "vae"):
        stem = "model" if name == "text_encoder" else "diffusion_pytorch_model"
        write_safetensors(directory / name / f"{stem}.safetensors", {"matrix": [8, 4], "vector": [8], "embed": [3, 4]})
        (directory / name / "config.json").write_text('{"dim": 64}', encoding="utf-8")
    return directory


def write_hub_snapshot(cache: Path, repo: str, commit: str = "abc123") -> Path:
    """Create an empty snapshot that `main` points to; return its folder."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot
