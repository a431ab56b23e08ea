"""Recognise a weight file by its header: which models it is for, what it holds, and how precise it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from core.catalogue.catalogue import Architecture, Component
from core.catalogue.model_folder import INDEX_FILE, missing_files, pipeline_class, size_of
from core.catalogue.recognise.foreign import foreign_kind, named_kind, upscaler_kind
from core.catalogue.recognise.loras import lora_kind
from core.catalogue.recognise.parts import Part, find_parts
from core.catalogue.recognise.pickles import names_in_pickle
from core.catalogue.recognise.precision import PRECISIONS, precision_of, unsupported_precision
from core.catalogue.weight_damage import damage_of
from core.catalogue.weight_file import WeightFile
from core.catalogue.weight_headers import GGUF_MAGIC, Header, HeaderError, TensorInfo, gguf_header, safetensors_header
from core.errors import InvalidInput

TITLES: Mapping[Architecture, str] = {
    "z-image": "Z-Image",
    "sd15": "Stable Diffusion 1.5",
    "sd21": "Stable Diffusion 2.1",
    "sdxl": "Stable Diffusion XL",
    "flux2-klein": "FLUX.2 klein 4B",
    "qwen-image": "Qwen-Image",
}
SUPPORTED = (
    "Supported are Z-Image, FLUX.2 klein 4B and Qwen-Image (transformer, text encoder, VAE), Stable Diffusion 1.5, 2.1 and "
    "XL (checkpoints, UNet, text encoders, VAE), their LoRAs, and ESRGAN and SwinIR upscalers"
)
PIPELINES: Mapping[str, Architecture] = {
    "ZImagePipeline": "z-image",
    "StableDiffusionXLPipeline": "sdxl",
    "Flux2KleinPipeline": "flux2-klein",
    "QwenImagePipeline": "qwen-image",
}
_GIGABYTE, _MEGABYTE = 10**9, 10**6
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
Container = Literal["safetensors", "gguf", "pickle", "unknown"]
Kind = Literal["checkpoint", "component", "lora", "upscaler", "unknown"]


@dataclass(frozen=True)
class _Found:
    kind: Kind
    what: str
    architectures: tuple[Architecture, ...] = ()
    components: tuple[Component, ...] = ()


def recognise(path: Path) -> WeightFile:
    """Return what a weight file or a folder in diffusers' layout is. Reads headers only: a second for any size.

    A damaged or unknown file is a WeightFile of the kind `unknown` whose sentence says what is wrong or supported.
    Raises InvalidInput `weights_not_found` when nothing is at the path.
    """
    if path.is_dir():
        return _recognise_folder(path)
    if not path.is_file():
        raise InvalidInput(f"There is no file at {path}.", field="path", code="weights_not_found")
    container = container_of(path)
    try:
        if container in ("safetensors", "gguf"):
            return _recognise_header(path, container, read_header(path))
        return _recognise_other(path, container)
    except HeaderError as error:
        problem = f"{error}" if str(error).startswith("is not") else f"{error}: download it again"
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    return _unknown(path, container, f"{path.name} {problem}.")


def read_header(path: Path) -> Header:
    """Return the header of a safetensors or GGUF file, told apart by its first bytes. Raises HeaderError or OSError."""
    return gguf_header(path) if container_of(path) == "gguf" else safetensors_header(path)


def container_of(path: Path) -> Container:
    """Return a file's format by its first bytes, whatever its name."""
    try:
        with path.open("rb") as opened:
            head = opened.read(16)
    except OSError:
        return "unknown"
    if head.startswith(GGUF_MAGIC):
        return "gguf"
    if head[8:9] == b"{" and not head[5:8].strip(b"\0"):
        return "safetensors"
    return "pickle" if head.startswith((b"PK\x03\x04", b"\x80")) else "unknown"


def size_text(size_bytes: int) -> str:
    """Return a size for people, such as `6.62 GB`."""
    if size_bytes >= _GIGABYTE:
        return f"{size_bytes / _GIGABYTE:.2f} GB"
    if size_bytes >= _MEGABYTE:
        return f"{size_bytes / _MEGABYTE:.1f} MB"
    return f"{size_bytes / 1000:.1f} kB"


def _recognise_header(path: Path, container: Container, header: Header) -> WeightFile:
    if not header.tensors:
        return _unknown(path, container, f"{path.name} holds no tensors: download it again.")
    found = _found_in(path, header)
    precision = precision_of(header.tensors)
    packed = unsupported_precision(header.tensors, gguf=container == "gguf") if found.kind != "unknown" else ""
    if packed:
        return _unknown(
            path, container, f"{path.name} is {found.what}, but {packed}. Supported precisions: {PRECISIONS}.", precision
        )
    if found.kind == "unknown":
        foreign = unsupported_precision(header.tensors, gguf=container == "gguf")
        more = f", {foreign}" if foreign else ""
        return _unknown(path, container, f"{path.name} {found.what}{more}. {SUPPORTED}.", precision)
    sentence = f"{path.name} is {found.what} ({precision}, {size_text(header.size_bytes)})."
    return WeightFile(
        path, found.kind, container, found.architectures, found.components, precision, header.size_bytes, sentence
    )


def _unknown(path: Path, container: Container, sentence: str, precision: str = "") -> WeightFile:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return WeightFile(path, "unknown", container, (), (), precision, size, sentence)


def _found_in(path: Path, header: Header) -> _Found:
    tensors = header.tensors
    if lora := lora_kind(tensors, header.metadata):
        if lora.other:
            return _Found("unknown", f"seems to be {lora.other}")
        names = " or ".join(TITLES[each] for each in lora.architectures)
        return _Found("lora", f"a LoRA for {names} ({lora.layout} keys)", lora.architectures)
    if upscaler := upscaler_kind(tensors.keys()):
        return _Found("upscaler", f"an upscaler of the kind {upscaler}")
    if found := _image_model(path, tensors):
        return found
    what = foreign_kind(_bare(tensors), header.metadata)
    return _Found("unknown", f"seems to be {what}" if what else "is not known here by its tensors' names")


def _bare(tensors: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    prefixes = ("model.diffusion_model.", "diffusion_model.", "transformer.")
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in tensors)), "")
    return {**tensors, **{name[len(prefix) :]: info for name, info in tensors.items() if prefix and name.startswith(prefix)}}


def _image_model(path: Path, tensors: Mapping[str, TensorInfo]) -> _Found | None:
    parts = find_parts(tensors)
    if not parts:
        return None
    if other := next((part.other for part in parts if part.other), ""):
        return _Found("unknown", f"seems to be {other}")
    if _SHARD.search(path.name):
        return _Found(
            "unknown",
            "is one of several files of a component: name its model's folder instead. It seems to be part of "
            + parts[0].title,
        )
    denoiser = next((part for part in parts if part.component in ("transformer", "unet")), None)
    components = tuple(part.component for part in parts)
    architectures = denoiser.architectures if denoiser else _common(parts, path)
    if denoiser is None and named_kind(_bare(tensors)):
        return None
    if denoiser and len(parts) > 1:
        return _Found(
            "checkpoint", f"a checkpoint of {TITLES[architectures[0]]} with {_listed(parts)}", architectures, components
        )
    return _Found("component", " and ".join(part.title for part in parts), architectures, components)


def _common(parts: list[Part], path: Path) -> tuple[Architecture, ...]:
    shared = tuple(each for each in parts[0].architectures if all(each in part.architectures for part in parts))
    if parts[0].component != "vae" or "sdxl" not in shared:
        return shared
    # VAEs of Stable Diffusion 1, 2 and XL differ in their numbers alone, but each gives wrong colours in the others.
    name = path.name.lower()
    if re.search(r"sdxl|(?:^|[^a-z])xl(?:[^a-z]|$)", name):
        return ("sdxl",)
    return ("sd15", "sd21") if re.search(r"mse|ema|840000|560000|sd-?v?[12]|kl-f8", name) else shared


def _listed(parts: list[Part]) -> str:
    names = {"transformer": "transformer", "unet": "UNet", "text_encoder": "text encoder", "vae": "VAE"}
    names["text_encoder_2"] = "second text encoder"
    texts = [names[part.component] for part in parts]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _recognise_other(path: Path, container: Container) -> WeightFile:
    if container == "pickle":
        return _recognise_pickle(path)
    damage = damage_of(path)
    known = path.suffix.lower() in (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".sft")
    what = damage if known and damage else f"is neither a safetensors nor a GGUF file. {SUPPORTED}"
    return _unknown(path, container, f"{path.name} {what}.")


def _recognise_pickle(path: Path) -> WeightFile:
    names: dict[str, Any] = dict.fromkeys(names_in_pickle(path), TensorInfo("", ()))
    if upscaler := upscaler_kind(names.keys()):
        size = path.stat().st_size
        what = f"{path.name} is an upscaler of the kind {upscaler} (pickled, {size_text(size)}); only its tensors are read."
        return WeightFile(path, "upscaler", "pickle", (), (), "", size, what)
    guess = _pickled_kind(names)
    advice = (
        "Pickled files can run programs when they are opened, so none is loaded. Download the model as .safetensors, or "
        "convert it with a tool that opens it with `weights_only=True`"
    )
    return _unknown(path, "pickle", f"{path.name} is a pickled file of PyTorch{guess}. {advice}.")


def _pickled_kind(names: Mapping[str, TensorInfo]) -> str:
    if any("lora_" in name for name in names):
        return "; it seems to be a LoRA"
    if "model.diffusion_model.input_blocks.0.0.weight" in names:
        two, xl = "cond_stage_model.model.ln_final.weight" in names, "conditioner.embedders.1.model.ln_final.weight" in names
        title = TITLES["sdxl" if xl else "sd21" if two else "sd15"]
        return f"; it seems to be a checkpoint of {title}"
    what = foreign_kind(names, {})
    return f"; it seems to be {what}" if what else ""


def _recognise_folder(path: Path) -> WeightFile:
    cls = pipeline_class(path)
    if not cls:
        sentence = f"{path} is a folder without a readable {INDEX_FILE}: name a file, or a folder in diffusers' layout."
        return WeightFile(path, "unknown", "unknown", (), (), "", 0, sentence)
    architecture = PIPELINES.get(cls) or (_sd_version(path) if cls == "StableDiffusionPipeline" else None)
    if architecture is None:
        return WeightFile(path, "unknown", "unknown", (), (), "", 0, f"{path} holds a {cls}. {SUPPORTED}.")
    if problems := missing_files(path):
        return WeightFile(path, "unknown", "unknown", (), (), "", 0, f"{problems[0]}.")
    size = size_of(path)
    sentence = f"{path} is {TITLES[architecture]} in diffusers' layout ({size_text(size)})."
    parts: tuple[Component, ...] = ("transformer", "unet", "text_encoder", "text_encoder_2", "vae")
    components = tuple(part for part in parts if (path / part).is_dir())
    return WeightFile(path, "checkpoint", "safetensors", (architecture,), components, "", size, sentence)


def _sd_version(path: Path) -> Architecture:
    """Return which Stable Diffusion a folder holds: the prompt's embedding has a width of 768 in 1.x, of 1024 in 2.x."""
    try:
        config = json.loads((path / "unet" / "config.json").read_text(encoding="utf-8"))
        return "sd21" if config.get("use_linear_projection") or config.get("cross_attention_dim") == 1024 else "sd15"
    except (OSError, ValueError, AttributeError):
        return "sd15"


def known_file(path: Path) -> WeightFile:
    """Return what `recognise` does, from memory while the file does not change."""
    try:
        state = path.stat()
    except OSError:
        raise InvalidInput(f"There is no file at {path}.", field="path", code="weights_not_found") from None
    return _recognised(path, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=4096)
def _recognised(path: Path, size: int, changed_at: int, inode: int) -> WeightFile:
    return recognise(path)
