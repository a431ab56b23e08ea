"""Find out whether a Stable Diffusion checkpoint predicts noise or velocity, and set its scheduler to that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from core.catalogue.component_keys import component_keys
from core.catalogue.recognise import container_of
from worker.models.libraries import Pipeline
from worker.models.single_files.tensors import read_tensors

log = logging.getLogger(__name__)
SD2_MARK = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
SD2_WIDTH = 1024
"""Width of the prompt's states in Stable Diffusion 2."""
VELOCITY_DEVIATION = 0.09
"""The bias in `SD2_MARK` deviates more than this in models that predict velocity: ComfyUI's test."""
PREDICTION_KEYS = ("modelspec.predict_key", "modelspec.prediction_type")


def set_prediction(pipeline: Pipeline, files: Mapping[Any, Path]) -> None:
    """Give the scheduler the prediction type that the UNet's file states; leave it where the file does not tell."""
    if "unet" not in files or container_of(files["unet"]) == "gguf" or not (changes := prediction_of(files["unet"])):
        return
    log.info("%s: %s", files["unet"], ", ".join(f"{name} = {value}" for name, value in changes.items()))
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changes)


def prediction_of(path: Path) -> dict[str, object]:
    """Return the settings of the scheduler that the file asks for; empty where it has no mark."""
    stored = read_tensors(path)
    if "v_pred" in stored:
        return {"prediction_type": "v_prediction", **({"rescale_betas_zero_snr": True} if "ztsnr" in stored else {})}
    if stated := _stated(path):
        return {"prediction_type": stated}
    names = component_keys(stored, "unet")
    context = names.get("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    mark = names.get(SD2_MARK)
    if mark and context and stored[context].shape[-1] == SD2_WIDTH:
        deviates = torch.std(stored[mark].float(), unbiased=False) > VELOCITY_DEVIATION
        return {"prediction_type": "v_prediction" if deviates else "epsilon"}
    return {}


def _stated(path: Path) -> str:
    """Return the prediction type that the metadata of a safetensors file names, in diffusers' terms, or ""."""
    if container_of(path) != "safetensors":
        return ""
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
    stated = next((metadata[key].strip().lower() for key in PREDICTION_KEYS if key in metadata), "")
    return {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon", "eps": "epsilon"}.get(stated, "")
