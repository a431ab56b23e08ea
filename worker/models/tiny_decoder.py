"""Find and load a tiny decoder (TAESD, TAESDXL, TAEF1), which turns latents into pixels in a fraction of the VAE's time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors import SafetensorError
from safetensors.torch import load_file

from core.catalogue import CatalogueModel
from core.errors import RenderError
from worker.models.libraries import Vae

FOLDER = "vae_approx"
"""ComfyUI's name for the folder of such files."""
_ORIGINAL_KEY = re.compile(r"(\d+)\.(.+)")


@dataclass(frozen=True)
class TinyDecoder:
    """`name`: what records say."""

    name: str
    vae: Vae

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return 1 x 3 x height x width, about -1..1, for the denoiser's latents (1 x channels x h x w)."""
        config = self.vae.config
        latents = latents.to(self.vae.dtype) / (config.scaling_factor or 1.0) + (config.shift_factor or 0.0)
        image: torch.Tensor = self.vae.decode(latents, return_dict=False)[0]
        return image


def decoder_name(model: CatalogueModel) -> str | None:
    """Return the name of the tiny decoder for the model's latents; None where there is none."""
    if model.family == "z-image":
        return "taef1"
    if model.family != "stable-diffusion":
        return None
    return "taesdxl" if "XL" in model.pipeline else "taesd"


def load_tiny_decoder(
    model: CatalogueModel, channels: int, folders: Iterable[Path], device: torch.device, dtype: torch.dtype
) -> TinyDecoder:
    """Load the model's tiny decoder from the first of `folders` that has it; nothing is downloaded.

    `channels`: of the model's latents. Raise RenderError `model_unavailable` when there is none or it does not fit.
    """
    name, searched = decoder_name(model), [folder / FOLDER for folder in folders]
    if name is None:
        raise _unusable(f"There is no tiny decoder for {model.id}.")
    found = next((path for folder in searched for path in _candidates(folder, name) if path.exists()), None)
    if found is None:
        places = ", ".join(str(folder) for folder in dict.fromkeys(searched))
        raise _unusable(f"There is no {name}.safetensors, {name}_decoder.safetensors or folder {name} in {places}.")
    try:
        vae = AutoencoderTiny.from_pretrained(str(found), local_files_only=True) if found.is_dir() else _from_file(found)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unusable(f"{found} is not a tiny decoder that can be read ({error}).") from error
    if vae.config.latent_channels != channels:
        raise _unusable(f"{found} decodes {vae.config.latent_channels} channels; the latents of {model.id} have {channels}.")
    return TinyDecoder(name, vae.to(device=device, dtype=dtype).eval())


def _candidates(folder: Path, name: str) -> Sequence[Path]:
    return folder / f"{name}.safetensors", folder / f"{name}_decoder.safetensors", folder / name


def _from_file(path: Path) -> Vae:
    """Read the decoder's tensors, named as diffusers or as the original project names them."""
    tensors = {_own_name(key): tensor for key, tensor in load_file(path).items() if not key.startswith("encoder.")}
    width, channels = tensors["layers.0.weight"].shape[:2]
    widths = (int(width),) * 4
    vae = AutoencoderTiny(
        latent_channels=int(channels), encoder_block_out_channels=widths, decoder_block_out_channels=widths
    )
    vae.decoder.load_state_dict(tensors)
    return vae


def _own_name(key: str) -> str:
    """Return the name in diffusers' decoder; the original's first layer is a clamp, which diffusers does not count."""
    if (match := _ORIGINAL_KEY.fullmatch(key)) is not None:
        return f"layers.{int(match[1]) - 1}.{match[2]}"
    return key.removeprefix("decoder.")


def _unusable(reason: str) -> RenderError:
    return RenderError(
        f"{reason} IMAGEFARM_TINY_DECODER is on: put the file there, or turn the setting off.", code="model_unavailable"
    )
