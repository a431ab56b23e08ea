"""Load a component from a safetensors file with fp8 weights, which stay fp8 in memory.

Each matrix is unpacked at its use into the compute dtype: the dtype that the model computes in on this device. Scaled files
(ComfyUI's `weight_scale` with `comfy_quant`, or the older `scale_weight` with `scaled_fp8`) keep their scales next to the
weights. The output equals the stock model's, with the scales folded into its weights, to the bit. Scales of inputs are for
multiplying in fp8 and are not used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers
from torch import nn

from core.catalogue.model_folder import components
from core.catalogue.weight_file import WeightFile
from core.errors import RenderError
from worker.memory.stored_layers import StoredFp8Linear
from worker.models.single_files.fitting import check_fit, empty_model, only_known, unusable
from worker.models.single_files.tensors import FP8, component_tensors

SCALE_SUFFIXES = (".weight_scale", ".scale_weight")
IGNORED_SUFFIXES = (".input_scale", ".scale_input", ".comfy_quant", "scaled_fp8")
FORMATS = {"float8_e4m3fn", "float8_e5m2"}
"""ComfyUI's names of formats that are one fp8 number per weight."""
BASE_NAME = "model."
"""Of the base model, which transformers adds when it saves a text encoder."""
State = dict[str, torch.Tensor]


def load_fp8(component: str, file: WeightFile, configs: Path, dtype: torch.dtype) -> nn.Module:
    """Load it on the CPU, its fp8 matrices as mapped pages of the file.

    Raise RenderError `model_unavailable` for a damaged file, another format, and a file that lacks a tensor.
    """
    _, cls = components(configs)[component]
    if cls != "ZImageTransformer2DModel" and not cls.startswith("Qwen3"):
        raise RenderError(
            f"{file.path}: a {cls} cannot be read from an fp8 file. Use a file in bf16 or fp16.", code="model_unavailable"
        )
    stored = component_tensors(file.path, component)
    _check_formats(stored, file.path)
    model: nn.Module = empty_model(configs, component)
    expected = model.state_dict()
    convert = _z_image_names if cls == "ZImageTransformer2DModel" else _base_names
    weights = _converted({name: each for name, each in stored.items() if not _is_extra(name)}, expected, convert)
    weights = check_fit(only_known(weights, expected.keys(), file.path), expected, file.path)
    scales = _converted(_scales(stored, file.path), expected, convert)
    _fill(model, weights, scales, dtype)
    return model.eval().requires_grad_(False)


def _fill(model: nn.Module, weights: State, scales: State, dtype: torch.dtype) -> None:
    for name, tensor in weights.items():
        owner, _, part = name.rpartition(".")
        module = model.get_submodule(owner)
        scale = scales.get(name)
        if isinstance(module, nn.Linear) and part == "weight" and tensor.dtype in FP8:
            compact = scale[:1].contiguous() if scale is not None and scale.stride(0) == 0 else scale
            layer = StoredFp8Linear(module, tensor, compact, dtype, module.bias is not None)
            if module.bias is not None:
                layer.bias = module.bias
            model.set_submodule(owner, layer)
            continue
        plain = tensor if scale is None else tensor.float() * scale.reshape(-1, *[1] * (tensor.ndim - 1))
        module.register_parameter(part, nn.Parameter(plain.to(dtype), requires_grad=False))


def _is_extra(name: str) -> bool:
    return name.endswith((*SCALE_SUFFIXES, *IGNORED_SUFFIXES))


def _scales(stored: Mapping[str, torch.Tensor], path: Path) -> State:
    """Return a scale for each row of each scaled weight, [out, 1], under the weight's name: converters may split rows."""
    found = {}
    for name, tensor in stored.items():
        suffix = next((each for each in SCALE_SUFFIXES if name.endswith(each)), None)
        if suffix is None:
            continue
        weight = f"{name.removesuffix(suffix)}.weight"
        rows = stored[weight].shape[0] if weight in stored else 0
        if tensor.numel() not in (1, rows):
            raise unusable(path, f"its scale {name} is for another form than one number for a weight or one for each row")
        found[weight] = tensor.float().reshape(-1, 1).expand(rows, 1)
    return found


def _check_formats(stored: Mapping[str, torch.Tensor], path: Path) -> None:
    for name, tensor in stored.items():
        if not name.endswith(".comfy_quant"):
            continue
        try:
            form = json.loads(bytes(tensor.tolist())).get("format")
        except (ValueError, AttributeError, TypeError):
            form = "unreadable"
        if form not in FORMATS:
            layer = name.removesuffix(".comfy_quant")
            raise unusable(path, f"{layer} is in the format {form}; of ComfyUI's formats only fp8 is supported")


def _converted(state: State, expected: Mapping[str, torch.Tensor], convert: Callable[[State], State]) -> State:
    return state if expected.keys() <= state.keys() else convert(state)


def _z_image_names(state: State) -> State:
    converted: State = convert_z_image_transformer_checkpoint_to_diffusers(state)
    return converted


def _base_names(state: State) -> State:
    return {name.removeprefix(BASE_NAME): tensor for name, tensor in state.items()}
