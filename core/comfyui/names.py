"""Names of weight files: those in the weights folders, and those that ComfyUI's templates give to the shipped models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from core.catalogue import CatalogueModel, FarmCatalogue
from core.catalogue.loras import LoraFile
from core.catalogue.upscalers import LANCZOS, Upscaler
from core.catalogue.weight_dirs import FOLDERS, WeightFolder
from core.comfyui.node_kinds import FileList

_Z_PARTS: Mapping[FileList, tuple[str, ...]] = {"text_encoders": ("qwen_3_4b.safetensors",), "vae": ("ae.safetensors",)}
SHIPPED: Mapping[str, Mapping[FileList, tuple[str, ...]]] = MappingProxyType(
    {
        "z-image-turbo": {"diffusion_models": ("z_image_turbo_bf16.safetensors",), **_Z_PARTS},
        "z-image": {"diffusion_models": ("z_image_bf16.safetensors",), **_Z_PARTS},
        "sd15": {
            "checkpoints": ("v1-5-pruned-emaonly-fp16.safetensors", "v1-5-pruned-emaonly.safetensors"),
            "vae": ("vae-ft-mse-840000-ema-pruned.safetensors",),
        },
        "sd21": {"checkpoints": ("v2-1_768-ema-pruned.safetensors", "v2-1_768-nonema-pruned.safetensors")},
        "sd-turbo": {"checkpoints": ("sd_turbo.safetensors",)},
        "sdxl": {"checkpoints": ("sd_xl_base_1.0.safetensors",), "vae": ("sdxl_vae.safetensors",)},
        "sdxl-turbo": {"checkpoints": ("sd_xl_turbo_1.0_fp16.safetensors", "sd_xl_turbo_1.0.safetensors")},
        "flux2-klein-4b": {
            "diffusion_models": ("flux-2-klein-4b.safetensors", "flux-2-klein-4b-fp8.safetensors"),
            "text_encoders": ("qwen_3_4b.safetensors",),
            "vae": ("flux2-vae.safetensors",),
        },
        "qwen-image": {
            "diffusion_models": ("qwen_image_bf16.safetensors", "qwen_image_fp8_e4m3fn.safetensors"),
            "text_encoders": ("qwen_2.5_vl_7b.safetensors", "qwen_2.5_vl_7b_fp8_scaled.safetensors"),
            "vae": ("qwen_image_vae.safetensors",),
        },
    }
)
"""Shipped model -> the names that ComfyUI's templates call its files by, whatever this farm has loaded it from."""
UPSCALERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "realesrgan-x4plus": ("RealESRGAN_x4plus.pth", "RealESRGAN_x4plus.safetensors"),
        "realesrgan-x4plus-anime": ("RealESRGAN_x4plus_anime_6B.pth",),
        "realesr-animevideov3": ("realesr-animevideov3.pth",),
    }
)
_NETWORK_SCALE = re.compile(r"(?<![0-9])([1-8])x|x([1-8])(?![0-9])", re.IGNORECASE)
_USUAL_SCALE = 4
_DENOISERS = ("transformer", "unet")
_PARTS: Mapping[str, WeightFolder] = {"text_encoder": "text_encoders", "text_encoder_2": "text_encoders", "vae": "vae"}


class ModelFiles:
    """The files that a graph may name: `lists` by ComfyUI's folder, the models, LoRAs and upscalers that they stand for."""

    def __init__(
        self,
        catalogue: FarmCatalogue,
        is_accepted: Callable[[CatalogueModel], bool],
        loras: Sequence[LoraFile] = (),
        upscalers: Iterable[Upscaler] = (),
    ) -> None:
        self._models: dict[tuple[str, str], CatalogueModel] = {}
        self._parts: dict[str, set[str]] = {}
        self.loras = {name: lora.name for lora in reversed(loras) for name in (Path(lora.file).name, lora.file)}
        self.upscalers: dict[str, Upscaler] = {}
        found: dict[FileList, dict[str, None]] = {name: {} for name in FOLDERS}
        # A file of the weights folders takes precedence over the same name of a shipped model.
        for model in sorted(catalogue, key=lambda row: not row.files):
            if is_accepted(model):
                self._add(model, found)
        for folder in ("text_encoders", "vae"):
            found[folder].update(dict.fromkeys(name_in_folder(file.path) for file in catalogue.scan.files[folder]))
        for row in upscalers:
            if row.id != LANCZOS:
                names = (*UPSCALERS.get(row.id, ()), *([row.weights.name] if row.origin == "file" and row.weights else ()))
                self.upscalers |= dict.fromkeys(names or (f"{row.id}.pth",), row)
        self.lists: Mapping[str, Sequence[str]] = {
            **{folder: tuple(names) for folder, names in found.items()},
            "loras": tuple(sorted(self.loras)),
            "upscale_models": tuple(self.upscalers),
        }

    def _add(self, model: CatalogueModel, found: dict[FileList, dict[str, None]]) -> None:
        for folder, names in _names_of(model).items():
            found[folder].update(dict.fromkeys(names))
            if folder in ("checkpoints", "diffusion_models"):
                for name in names:
                    self._models.setdefault((folder, name), model)
            else:
                self._parts.setdefault(model.id, set()).update(names)

    def model(self, folder: str, name: str) -> CatalogueModel:
        """Return the model that a loader's file stands for; the name is one of `lists`."""
        return self._models[folder, name.replace("\\", "/")]

    def is_part(self, model: CatalogueModel, name: str) -> bool:
        """Return whether a text encoder or VAE is the one that the model is loaded with, as far as names tell."""
        return name.replace("\\", "/") in self._parts.get(model.id, set())

    def upscaler_id(self, name: str) -> str:
        """Return the id of the upscaler that a file stands for; the name is one of `lists`."""
        return self.upscalers[name.replace("\\", "/")].id


def _names_of(model: CatalogueModel) -> Mapping[FileList, Sequence[str]]:
    own: dict[FileList, list[str]] = {"checkpoints": [f"{model.id}.safetensors"]}
    if not model.files:
        for folder, names in SHIPPED.get(model.id, {}).items():
            own.setdefault(folder, []).extend(names)
        return own
    denoiser = next(path for component, path in model.files.items() if component in _DENOISERS)
    is_checkpoint = any(path == denoiser for component, path in model.files.items() if component not in _DENOISERS)
    own.setdefault("checkpoints" if is_checkpoint else "diffusion_models", []).append(name_in_folder(denoiser))
    for component, path in model.files.items():
        if component in _PARTS and path != denoiser:
            own.setdefault(_PARTS[component], []).append(name_in_folder(path))
    return own


def name_in_folder(path: Path) -> str:
    """Return a weight file's name as ComfyUI lists it: its path below the folder of its kind."""
    names = {name for folder in FOLDERS.values() for name in folder}
    folder = next((parent for parent in path.parents if parent.name in names), path.parent)
    return path.relative_to(folder).as_posix()


def network_scale(name: str) -> int:
    """Return how much an upscaling network enlarges, as its file's name says; 4 when it says nothing."""
    found = _NETWORK_SCALE.search(name)
    return int(found[1] or found[2]) if found else _USUAL_SCALE
