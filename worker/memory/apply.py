"""Apply a memory tier to a loaded pipeline: move its components and attach offloading."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.hooks import apply_group_offloading
from torch import nn

from worker.device.torch_device import disable_pinned_rounding
from worker.memory.sizes import role_of
from worker.memory.tiers import Placement, Tier

ALIGNMENT_BYTES = 512
"""CUDA's allocator aligns to this: each weight begins at a multiple of this many bytes."""
TILE_PIXELS, TILE_LATENTS = 512, 64


def move_in_one_allocation(module: nn.Module, device: torch.device) -> None:
    """Move the module like `module.to(device)`, with all weights and buffers in one storage.

    CUDA's allocator gives each tensor above 10 MB its own memory in multiples of 2 MB: allocated one by one, the matrices
    of an 8-bit Z-Image would take 0.4 GB more than their size. Do not use it for weights that are cast at each use: the
    cast results need memory of their own, and this one allocation stays while any tensor is still in it.
    """
    place_in_one_allocation([*module.parameters(), *module.buffers()], device)


def place_in_one_allocation(tensors: Sequence[torch.Tensor], device: torch.device) -> None:
    """Move these tensors to the device, into one storage."""
    storage = torch.empty(sum(_aligned_bytes(each) for each in tensors), dtype=torch.uint8, device=device)
    begin = 0
    for tensor in tensors:
        view = storage[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        view.copy_(tensor.data)
        begin += _aligned_bytes(tensor)
        tensor.data = view


def _aligned_bytes(tensor: torch.Tensor) -> int:
    return -(-tensor.nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def apply_tier(
    pipeline: DiffusionPipeline,
    tier: Tier,
    device: torch.device,
    on_fraction: Callable[[float], None],
    text_device: torch.device | None = None,
) -> None:
    """Place every component as the tier states; `text_device`: the one that its text encoders' place means by `other`.

    Quantised forms must exist already; LoRAs must be fused before fp8.
    """
    if tier.tiled_vae:
        _tile(pipeline.vae)
    if tier.denoiser_place == "by_turns":
        pipeline.enable_model_cpu_offload(device=device)
        return
    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    for index, (name, module) in enumerate(modules.items()):
        role = role_of(name)
        if role == "denoiser" and tier.denoiser == "fp8-cast":
            _keep_in_fp8(module)
        place = _place(tier, name)
        if place == "other" and text_device is not None:
            _move(module, "device", text_device)
        else:
            _move(module, place, device)
        on_fraction((index + 1) / len(modules))


def _place(tier: Tier, name: str) -> Placement:
    role = role_of(name)
    return {"denoiser": tier.denoiser_place, "text": tier.text_place, "vae": tier.vae_place}[role]


def _move(module: nn.Module, place: Placement, device: torch.device) -> None:
    if place == "device" and device.type != "cpu":
        move_in_one_allocation(module, device)
    elif place == "device":
        module.to(device)
    elif place == "streamed":
        _stream(module, device)
    else:
        module.to("cpu")


def _stream(module: nn.Module, device: torch.device) -> None:
    """Attach group offloading: by block if the model names its block lists, else by leaf. Streams need CUDA."""
    by_block = _has_block_list(module)
    if device.type == "cuda":
        disable_pinned_rounding()
    apply_group_offloading(
        module,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level" if by_block else "leaf_level",
        num_blocks_per_group=1 if by_block else None,
        use_stream=device.type == "cuda",
        non_blocking=device.type == "cuda",
    )


def _has_block_list(module: nn.Module) -> bool:
    """Return whether most weights are in lists of equal blocks, as in transformers and unlike the levels of a UNet."""
    repeated = set(getattr(module, "_repeated_blocks", None) or ())
    lists = [child for child in module.children() if isinstance(child, nn.ModuleList)]
    return any(type(block).__name__ in repeated for blocks in lists for block in blocks)


def _keep_in_fp8(module: ModelMixin) -> None:
    dtype = next(parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and layer.weight.dtype == torch.float8_e4m3fn:
            layer.compute_dtype = dtype  # Adapters take this dtype: fp8 itself cannot be computed in.


def _tile(vae: ModelMixin) -> None:
    """Decode in tiles above 512 px; with their defaults large VAEs tile only from 1024 px."""
    vae.enable_tiling()
    for name, value in (("tile_sample_min_size", TILE_PIXELS), ("tile_latent_min_size", TILE_LATENTS)):
        if hasattr(vae, name):
            setattr(vae, name, value)
