"""Load an upscaler's network from its weight file: ncnn's format, safetensors, or a pickle read with `weights_only`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.catalogue.upscalers import Upscaler
from worker.pipelines.upscalers.compact import SRVGGNetCompact
from worker.pipelines.upscalers.ncnn_weights import DamagedUpscaler, fill
from worker.pipelines.upscalers.rrdbnet import RRDBNet, from_old_names
from worker.pipelines.upscalers.swinir import SwinIR

Network = RRDBNet | SRVGGNetCompact | SwinIR
_WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Keys under which BasicSR, SwinIR and trainers keep the weights."""
_PACKAGED_BLOCKS = {"realesrgan-x4plus": 23, "realesrgan-x4plus-anime": 6}
_PACKAGED_CONVOLUTIONS = {"realesr-animevideov3": 16}
_IGNORED = ("attn_mask", "relative_position_index")
"""Tensors in files of SwinIR that follow from its sizes."""


@dataclass(frozen=True)
class Tiling:
    """How to cut an image for a network, in pixels of the input.

    `inner` is what a tile contributes to the result; `halo` is computed around it and discarded, so that tiles equal the
    whole. Measured on the released weights with a photograph, the largest difference in grey levels of 255: SRVGGNetCompact
    0 at 24; RRDBNet with 6 blocks 0.44 at 48, with 23 blocks 0.91 at 64.
    """

    inner: int
    halo: int


def tiling_of(network: Network) -> Tiling:
    """Return the tiling for a network; all sizes are multiples of 8, the window of SwinIR."""
    if isinstance(network, SRVGGNetCompact):
        return Tiling(464, 24)
    if isinstance(network, SwinIR):
        return Tiling(192, 32)
    return Tiling(192, 64)


def tolerates_bfloat16(network: Network) -> bool:
    """Return whether results in bfloat16 stay within a grey level of those in float32."""
    return not isinstance(network, SwinIR)


def load_network(upscaler: Upscaler) -> Network:
    """Return the network on the CPU in float32, ready for inference.

    Raises RenderError `upscaler_unavailable`, naming the file, when it is missing, damaged or of an unknown architecture.
    """
    file = upscaler.weights
    if file is None or not file.is_file():
        raise DamagedUpscaler(
            f"The weights of the upscaler {upscaler.id} are not on this machine. "
            "Install imagefarm's worker extra again, or put the file back."
        )
    network = _from_ncnn(upscaler, file) if upscaler.graph else network_of(_read(file), str(file))
    return network.eval().requires_grad_(False)


def _from_ncnn(upscaler: Upscaler, file: Path) -> Network:
    if upscaler.sha256 and hashlib.sha256(file.read_bytes()).hexdigest() != upscaler.sha256:
        raise DamagedUpscaler(f"{file} is damaged: its sha256 differs from the released file's. Install the package again.")
    network: Network
    if upscaler.id in _PACKAGED_BLOCKS:
        network = RRDBNet(_PACKAGED_BLOCKS[upscaler.id])
    else:
        network = SRVGGNetCompact(_PACKAGED_CONVOLUTIONS[upscaler.id])
    assert upscaler.graph is not None  # noqa: S101 - the caller has looked
    fill(network, upscaler.graph, file)
    return network


def _read(file: Path) -> dict[str, Tensor]:
    try:
        loaded = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:
        # torch and safetensors raise many types for damaged files; a pickle that holds code is refused here, too.
        raise DamagedUpscaler(
            f"{file} cannot be read as weights: {type(error).__name__}. Only tensors are loaded."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict):
        raise DamagedUpscaler(f"{file} holds no weights.")
    tensors = {name.removeprefix("module."): tensor for name, tensor in loaded.items() if isinstance(tensor, Tensor)}
    return {name: tensor.float() for name, tensor in tensors.items() if not name.endswith(_IGNORED)}


def network_of(weights: Mapping[str, Tensor], source: str) -> Network:
    """Return the network that the weights belong to, filled with them. Raises RenderError `upscaler_unavailable`."""
    try:
        network, named = _empty(weights)
        if missing := sorted(network.state_dict().keys() - named.keys()):
            raise KeyError(f"{missing[0]} is missing")
        network.load_state_dict(named, strict=True)
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise DamagedUpscaler(
            f"{source} holds no upscaler that is supported (ESRGAN/RRDBNet, SRVGGNetCompact, SwinIR): {_first_line(error)}"
        ) from error
    if bad := next((name for name, tensor in named.items() if not bool(torch.isfinite(tensor).all())), ""):
        raise DamagedUpscaler(f"{source} is damaged: {bad} holds a number that is not finite.")
    return network


def _empty(weights: Mapping[str, Tensor]) -> tuple[Network, Mapping[str, Tensor]]:
    if "layers.0.residual_group.blocks.0.attn.relative_position_bias_table" in weights:
        return SwinIR.for_weights(weights), weights
    if "model.1.sub.0.RDB1.conv1.0.weight" in weights:
        weights = from_old_names(weights)
    if "body.0.rdb1.conv1.weight" in weights:
        return RRDBNet.for_weights(weights), weights
    if "body.0.weight" in weights and "body.1.weight" in weights:
        return SRVGGNetCompact.for_weights(weights), weights
    raise KeyError(f"its first tensor is {min(weights, default='missing')}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
