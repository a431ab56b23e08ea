"""Put a loaded pipeline into a memory tier: place its components, attach offloading."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.hooks import apply_group_offloading
from torch import nn

from worker.memory.gating import gate_in_place
from worker.memory.pinning import pin_exactly
from worker.memory.sizes import role_of
from worker.memory.tiers import Place, Tier
from worker.memory.together import move_together

TILE_PIXELS, TILE_LATENTS = 512, 64


def apply_tier(pipeline: DiffusionPipeline, tier: Tier, device: torch.device, on_fraction: Callable[[float], None]) -> None:
    """Place every component as the tier says. Quantised forms must have been made before; LoRAs fused before fp8."""
    if tier.tiled_vae:
        _tile(pipeline.vae)
    if tier.denoiser_place == "by_turns":
        pipeline.enable_model_cpu_offload(device=device)
        return
    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    for index, (name, module) in enumerate(modules.items()):
        role = role_of(name)
        gate_in_place(module)
        if role == "denoiser" and tier.denoiser == "fp8-cast":
            _keep_in_fp8(module)
        _put(module, _place(tier, name), device)
        on_fraction((index + 1) / len(modules))


def _place(tier: Tier, name: str) -> Place:
    role = role_of(name)
    return {"denoiser": tier.denoiser_place, "text": tier.text_place, "vae": tier.vae_place}[role]


def _put(module: nn.Module, place: Place, device: torch.device) -> None:
    if place == "device" and device.type != "cpu":
        move_together(module, device)
    elif place == "device":
        module.to(device)
    elif place == "streamed":
        _stream(module, device)
    else:
        module.to("cpu")


def _stream(module: nn.Module, device: torch.device) -> None:
    """Group offloading: by block where the model names its blocks' list, else by leaf. Streams need CUDA."""
    by_block = _has_block_list(module)
    if device.type == "cuda":
        pin_exactly()
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
    """Whether most of the weights are in lists of blocks alike, as in transformers, unlike the levels of a UNet."""
    repeated = set(getattr(module, "_repeated_blocks", None) or ())
    lists = [child for child in module.children() if isinstance(child, nn.ModuleList)]
    return any(type(block).__name__ in repeated for blocks in lists for block in blocks)


def _keep_in_fp8(module: ModelMixin) -> None:
    dtype = next(parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and layer.weight.dtype == torch.float8_e4m3fn:
            layer.compute_dtype = dtype  # Adapters are made in this dtype: in fp8 itself nothing can be computed.


def _tile(vae: ModelMixin) -> None:
    """Decode in tiles above 512 px; the defaults of large VAEs would not tile before 1024."""
    vae.enable_tiling()
    for name, value in (("tile_sample_min_size", TILE_PIXELS), ("tile_latent_min_size", TILE_LATENTS)):
        if hasattr(vae, name):
            setattr(vae, name, value)
