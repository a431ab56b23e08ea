"""Load a component from a GGUF file, packed as it is stored.

Matrices stay in their GGUF type and are unpacked layer by layer, at each use, into the compute dtype: the dtype that the
model computes in on this device (bfloat16, or float32). A transformer uses diffusers' own layers, so that its output equals
`from_single_file`'s to the bit; a text encoder equals transformers' unpacked one. What is not a matrix (norms, biases, pad
tokens) is unpacked once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import GGUFQuantizationConfig
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor
from torch import nn

from core.catalogue.model_folder import components
from core.catalogue.weight_file import WeightFile
from core.errors import RenderError
from worker.memory.gguf_file import PLAIN, mapped_tensors
from worker.memory.stored_layers import GgufEmbedding, GgufLinear, unpack
from worker.models.components import class_named
from worker.models.single_files.fitting import check_fit, empty_model, only_known, unusable

LLAMA_LAYERS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's names of a Qwen3 layer's parts -> transformers'."""
LLAMA_OTHERS = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight"}
LLAMA_UNUSED = ("output.weight", "rope_freqs.weight")
"""The output layer, which a text encoder does not use, and factors of other rotary embeddings."""


def load_gguf(component: str, file: WeightFile, configs: Path, dtype: torch.dtype) -> nn.Module:
    """Load it on the CPU, its matrices as mapped pages of the file.

    Raise RenderError `model_unavailable` for a damaged file, an unsupported type, and a file that lacks a tensor.
    """
    library, cls = components(configs)[component]
    try:
        tensors = {name: _parameter(tensor.kind, data) for name, tensor, data in mapped_tensors(file.path)}
    except ValueError as error:
        raise unusable(file.path, str(error)) from error
    if cls == "ZImageTransformer2DModel":
        return _transformer(class_named(library, cls), component, file.path, configs, tensors, dtype)
    if cls.startswith("Qwen3"):
        return _text_encoder(component, file.path, configs, tensors, dtype)
    raise RenderError(
        f"{file.path}: a {cls} cannot be read from a GGUF file. Use a safetensors file.", code="model_unavailable"
    )


def _parameter(kind: str, data: torch.Tensor) -> torch.Tensor:
    import gguf

    return data if kind in PLAIN else GGUFParameter(data, quant_type=gguf.GGMLQuantizationType[kind])


def _transformer(
    cls: Any,  # noqa: ANN401 - a class of diffusers
    component: str,
    path: Path,
    configs: Path,
    tensors: dict[str, torch.Tensor],
    dtype: torch.dtype,
) -> nn.Module:
    shaped = empty_model(configs, component)
    expected = shaped.state_dict()
    if not expected.keys() <= tensors.keys():
        tensors = convert_z_image_transformer_checkpoint_to_diffusers(tensors)
    tensors = only_known(tensors, expected.keys(), path)
    matrices = _matrices(shaped)
    vectors = {
        name: dequantize_gguf_tensor(tensor).to(dtype)
        for name, tensor in tensors.items()
        if name not in matrices and isinstance(tensor, GGUFParameter)
    }
    kept = check_fit({**tensors, **vectors}, expected, path)
    model: nn.Module = cls.from_single_file(
        kept,
        config=str(configs),
        subfolder=component,
        quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
        dtype=dtype,
        local_files_only=True,
    )
    _unpack_in_pieces(model)
    return model.eval().requires_grad_(False)


def _unpack_in_pieces(model: nn.Module) -> None:
    """Replace diffusers' packed layers by those that need less memory, with the same tensors."""
    for path, layer in list(model.named_modules()):
        if type(layer) is GGUFLinear:
            model.set_submodule(path, _packed_linear(layer, layer.weight, layer.compute_dtype))


def _packed_linear(linear: nn.Linear, weight: GGUFParameter, dtype: torch.dtype) -> GgufLinear:
    with init_empty_weights():
        layer = GgufLinear(linear.in_features, linear.out_features, linear.bias is not None, dtype)
    layer.weight = weight
    if linear.bias is not None:
        layer.bias = linear.bias
    return layer


def _matrices(model: nn.Module) -> set[str]:
    return {f"{path}.weight" for path, module in model.named_modules() if isinstance(module, nn.Linear)}


def _text_encoder(
    component: str, path: Path, configs: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype
) -> nn.Module:
    model: nn.Module = empty_model(configs, component)
    expected = model.state_dict()
    named = {own: tensor for name, tensor in tensors.items() if (own := _own_name(name)) is not None}
    found = check_fit(only_known(named, expected.keys(), path), expected, path)
    for name, tensor in found.items():
        owner, _, part = name.rpartition(".")
        _set(model, owner, part, tensor, dtype)
    return model.eval().requires_grad_(False)


def _own_name(name: str) -> str | None:
    """Return transformers' name; an unknown one unchanged, so that it is reported, None for one that is not used."""
    if name in LLAMA_UNUSED:
        return None
    if name in LLAMA_OTHERS:
        return LLAMA_OTHERS[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    layer, _, part = rest.rpartition(".")
    return f"layers.{block}.{LLAMA_LAYERS[layer]}.{part}" if layer in LLAMA_LAYERS else name


def _set(model: nn.Module, owner: str, part: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
    module = model.get_submodule(owner)
    if not isinstance(tensor, GGUFParameter):
        module.register_parameter(part, nn.Parameter(tensor.to(dtype), requires_grad=False))
    elif isinstance(module, nn.Linear) and part == "weight":
        layer = _packed_linear(module, tensor, dtype)
        layer.unpack_dtype = torch.float32
        model.set_submodule(owner, layer)
    elif isinstance(module, nn.Embedding):
        model.set_submodule(owner, GgufEmbedding(tensor, dtype))
    else:
        unpacked = unpack(tensor.as_tensor(), tensor.quant_type, torch.float32).to(dtype)
        module.register_parameter(part, nn.Parameter(unpacked, requires_grad=False))
