"""Rename components' tensors from diffusers' and transformers' names to those of published single files."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

Tensors = dict[str, torch.Tensor]


def z_image_transformer(state: Mapping[str, torch.Tensor]) -> Tensors:
    """Return `z_image_turbo_bf16.safetensors`: fused attention, one list fewer around embedder and final layer."""
    names = {
        "all_final_layer.2-1.": "final_layer.",
        "all_x_embedder.2-1.": "x_embedder.",
        "attention.norm_k.": "attention.k_norm.",
        "attention.norm_q.": "attention.q_norm.",
        "attention.to_out.0.": "attention.out.",
    }
    found: Tensors = {}
    for name, tensor in state.items():
        if ".to_k." in name or ".to_v." in name:
            continue
        if ".to_q." in name:
            parts = [state[name.replace(".to_q.", f".to_{letter}.")] for letter in "qkv"]
            found[name.replace(".to_q.", ".qkv.")] = torch.cat(parts)
        else:
            found[_replaced(name, names)] = tensor
    dim = len(state["cap_pad_token"].flatten())
    return found | {"norm_final.weight": torch.ones(dim, dtype=state["cap_pad_token"].dtype)}


def ldm_vae(state: Mapping[str, torch.Tensor]) -> Tensors:
    """Return `ae.safetensors`, or the part of a Stable Diffusion checkpoint below `first_stage_model.`."""
    levels = 1 + max(int(match[1]) for name in state if (match := re.match(r"decoder\.up_blocks\.(\d)", name)))
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    names = {
        r"down_blocks\.(\d)\.resnets": r"down.\1.block",
        r"down_blocks\.(\d)\.downsamplers\.0": r"down.\1.downsample",
        r"up_blocks\.(\d)\.resnets": r"up.\1.block",
        r"up_blocks\.(\d)\.upsamplers\.0": r"up.\1.upsample",
        r"mid_block\.resnets\.0": "mid.block_1",
        r"mid_block\.resnets\.1": "mid.block_2",
        r"mid_block\.attentions\.0": "mid.attn_1",
        "conv_shortcut": "nin_shortcut",
        "conv_norm_out": "norm_out",
    }
    found: Tensors = {}
    for name, tensor in state.items():
        mirrored = re.sub(r"up_blocks\.(\d)", lambda match: f"up_blocks.{levels - 1 - int(match[1])}", name)
        own = mirrored
        for pattern, text in names.items():
            own = re.sub(pattern, text, own)
        if "mid.attn_1" in own:
            own = _replaced(own, attention)
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor  # noqa: PLW2901
        found[own] = tensor
    return found


def ldm_unet(state: Mapping[str, torch.Tensor], layers_per_block: int) -> Tensors:
    """Return the part of a Stable Diffusion checkpoint below `model.diffusion_model.`."""
    return {_ldm_unet_name(name, layers_per_block, state): tensor for name, tensor in state.items()}


def _ldm_unet_name(name: str, layers: int, state: Mapping[str, torch.Tensor]) -> str:
    top = {
        "time_embedding.linear_1.": "time_embed.0.",
        "time_embedding.linear_2.": "time_embed.2.",
        "add_embedding.linear_1.": "label_emb.0.0.",
        "add_embedding.linear_2.": "label_emb.0.2.",
        "conv_in.": "input_blocks.0.0.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
    }
    resnet = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }
    if found := re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions)\.(\d)\.(.*)", name):
        side, block, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        index = block * (layers + 1) + layer + (1 if side == "down" else 0)
        place = f"{'input' if side == 'down' else 'output'}_blocks.{index}"
        return f"{place}.0.{_replaced(rest, resnet)}" if kind == "resnets" else f"{place}.1.{rest}"
    if found := re.match(r"down_blocks\.(\d)\.downsamplers\.0\.conv\.(.*)", name):
        return f"input_blocks.{(int(found[1]) + 1) * (layers + 1)}.0.op.{found[2]}"
    if found := re.match(r"up_blocks\.(\d)\.upsamplers\.0\.(conv\..*)", name):
        follows = f"up_blocks.{found[1]}.attentions.0.norm.weight" in state
        return f"output_blocks.{int(found[1]) * (layers + 1) + layers}.{2 if follows else 1}.{found[2]}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        if found[1] == "attentions":
            return f"middle_block.1.{found[3]}"
        return f"middle_block.{2 * int(found[2])}.{_replaced(found[3], resnet)}"
    return _replaced(name, top)


def clip(state: Mapping[str, torch.Tensor]) -> Tensors:
    """Return transformers' names as published, below `text_model.`, with the positions that old versions saved."""
    found = {name if name.startswith("text_") else f"text_model.{name}": tensor for name, tensor in state.items()}
    return found | {"text_model.embeddings.position_ids": torch.arange(77).unsqueeze(0)}


def open_clip(state: Mapping[str, torch.Tensor], extra_layer: bool = False) -> Tensors:
    """Return OpenCLIP's names, with fused attention and the projection transposed.

    `extra_layer`: with a last layer and a projection that the text encoder does not use, as in Stable Diffusion 2.
    """
    names = {
        "embeddings.token_embedding": "token_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final",
        "encoder.layers": "transformer.resblocks",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "fc1": "c_fc",
        "fc2": "c_proj",
        "self_attn": "attn",
    }
    found: Tensors = {"logit_scale": torch.tensor(4.6)}
    for full, tensor in state.items():
        name = full.removeprefix("text_model.")
        if name == "text_projection.weight":
            found["text_projection"] = tensor.T.contiguous()
        elif "q_proj" in name:
            parts = [state[full.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[_replaced(name, names).replace("q_proj.", "in_proj_")] = torch.cat(parts)
        elif "k_proj" not in name and "v_proj" not in name:
            found[_replaced(name, names)] = tensor
    if extra_layer:
        last = max(int(match[1]) for name in found if (match := re.match(r"transformer\.resblocks\.(\d+)", name)))
        prefix = f"transformer.resblocks.{last}."
        rows = {name: tensor for name, tensor in found.items() if name.startswith(prefix)}
        found |= {name.replace(prefix, f"transformer.resblocks.{last + 1}."): 2 * tensor for name, tensor in rows.items()}
        width = len(found["ln_final.weight"])
        found["text_projection"] = torch.zeros(width, width)
    return found


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Add a prefix to all names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _replaced(name: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        name = name.replace(old, new)
    return name
