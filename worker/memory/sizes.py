"""Parameter counts of a model's components, from the headers of its files or from its catalogue row."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.catalogue import CatalogueModel
from core.catalogue.component_keys import component_keys
from core.catalogue.model_folder import components, weight_files
from core.catalogue.recognise import container_of, read_header
from core.catalogue.weight_damage import damage_of
from core.catalogue.weight_headers import HeaderError
from core.catalogue.weight_names import choose_set
from core.errors import RenderError
from worker.memory.stored_sizes import StoredSize, stored_size

Role = Literal["denoiser", "text", "vae"]
NEVER_QUANTISED = ("embed", "adaLN", "norm", "final", "proj_out", "lm_head")
"""Layers whose names contain one of these are never quantised: they are small, and the image is sensitive to them."""
MATRIX_SHARE: dict[Role, float] = {"denoiser": 0.975, "text": 0.9, "vae": 0.0}
"""Share of a component's parameters in quantisable matrices, for when only the total is known. From Z-Image."""
LARGEST_MATRIX: dict[Role, int] = {"denoiser": 10240 * 3840, "text": 9728 * 2560, "vae": 0}
"""Elements of the largest matrix, for the same case."""
DEFAULT_WIDTHS = {"z-image": 3840, "stable-diffusion": 320, "stock": 3072}
DEFAULT_VAE_WIDTH = 128


@dataclass(frozen=True)
class ComponentSize:
    """Parameters in quantisable matrices, and all others; `largest`: elements of the largest such matrix.

    `stored`: of a component that its file stores packed, which is never quantised again.
    """

    name: str
    role: Role
    matrices: int
    others: int
    largest: int
    stored: StoredSize | None = None

    @property
    def parameters(self) -> int:
        return self.matrices + self.others


@dataclass(frozen=True)
class ModelSizes:
    """`width`: channels of the denoiser at its highest resolution; `vae_width`: channels of the decoder's last level."""

    components: tuple[ComponentSize, ...]
    width: int
    vae_width: int

    def of(self, role: Role) -> int:
        """Return the parameters of all components in that role."""
        return sum(part.parameters for part in self.components if part.role == role)

    def stored(self, role: Role) -> StoredSize | None:
        """Return the stored size of the first component in that role that is packed."""
        return next((part.stored for part in self.components if part.role == role and part.stored), None)

    def largest_matrix(self, role: Role) -> int:
        """Return the elements of the largest matrix among the components in that role."""
        return max((part.largest for part in self.components if part.role == role), default=0)


def role_of(name: str) -> Role:
    """Return the role of a pipeline's component of that name."""
    if name in ("transformer", "unet"):
        return "denoiser"
    return "vae" if name == "vae" else "text"


def read_sizes(directory: Path, model: CatalogueModel, files: Mapping[Any, Path] | None = None) -> ModelSizes:
    """Read sizes from a folder in diffusers' layout; only headers and configs are read.

    `files`: weight files by component, for a folder that holds configurations only.
    """
    named: Mapping[Any, Path] = files or {}
    if named:
        parts = tuple(_component_in(named, name) for name in components(directory) if name in named)
    else:
        parts = tuple(_component(directory / name) for name in components(directory))
    config = next((_config(directory / part.name) for part in parts if part.role == "denoiser"), {})
    return ModelSizes(parts, _width(config, model), _first_channels(_config(directory / "vae"), DEFAULT_VAE_WIDTH))


def sizes_of_row(model: CatalogueModel) -> ModelSizes:
    """Return sizes from the catalogue row, for a model whose weights are not on disk yet."""
    parts = []
    for name, count in model.weights.parameters.items():
        role = role_of(name)
        matrices = int(count * MATRIX_SHARE[role])
        parts.append(ComponentSize(name, role, matrices, count - matrices, min(LARGEST_MATRIX[role], matrices)))
    return ModelSizes(tuple(parts), DEFAULT_WIDTHS[model.family], DEFAULT_VAE_WIDTH)


def _component(folder: Path) -> ComponentSize:
    """Read the headers of the component's files."""
    return component_of(folder.name, _shapes(folder))


def component_of(name: str, shapes: Iterable[tuple[str, Sequence[int]]]) -> ComponentSize:
    """Count a component's parameters from the names and shapes of its tensors."""
    matrices, others = [0], 0
    for path, shape in shapes:
        if len(shape) == 2 and not any(word in path for word in NEVER_QUANTISED):
            matrices.append(math.prod(shape))
        else:
            others += math.prod(shape)
    return ComponentSize(name, role_of(name), sum(matrices), others, max(matrices))


def _shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield name and shape of every tensor of the component. A pickle has no header: it counts as one fp32 matrix."""
    for file in chosen_files(folder):
        if file.suffix == ".safetensors":
            yield from safetensors_shapes(file).items()
        else:
            yield file.name, [1, file.stat().st_size // 4]


def _component_in(files: Mapping[Any, Path], component: str) -> ComponentSize:
    """Read the header of the component's file; a pickle has none and counts as one fp32 matrix."""
    path = files[component]
    if container_of(path) == "pickle":
        shared = sum(1 for other in files.values() if other == path)
        return component_of(component, [(path.name, [1, path.stat().st_size // 4 // shared])])
    rows = list(_tensors_in(path, component))
    size = component_of(component, ((name, shape) for name, _, shape in rows))
    return replace(size, stored=None if size.role == "vae" else stored_size(rows, container_of(path) == "gguf"))


def _tensors_in(path: Path, component: str) -> Iterator[tuple[str, str, Sequence[int]]]:
    """Yield name, type and shape of the component's tensors; matrices that are stored as one are split in three."""
    try:
        tensors = read_header(path).tensors
    except (HeaderError, OSError) as error:
        raise RenderError(f"{path} {damage_of(path) or error}.", code="model_unavailable") from error
    for own, name in component_keys(tensors, component).items():
        dtype, shape = tensors[name].dtype, tensors[name].shape
        if ".qkv.weight" in own and len(shape) == 2:
            yield from [(own, dtype, (shape[0] // 3, *shape[1:]))] * 3
        else:
            yield own, dtype, shape


def chosen_files(folder: Path) -> list[Path]:
    """Return the component's set of weight files that a load uses."""
    chosen = choose_set((path.name for path in weight_files(folder)), None)
    return [folder / found.name for found in chosen]


def safetensors_shapes(file: Path) -> dict[str, list[int]]:
    """Return name -> shape from the file's header alone."""
    return {name: entry["shape"] for name, entry in safetensors_header(file).items()}


def safetensors_header(file: Path) -> dict[str, dict[str, Any]]:
    """Return name -> dtype, shape and data_offsets from the file's header."""
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header: dict[str, dict[str, Any]] = json.loads(handle.read(length))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _config(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _width(config: dict[str, Any], model: CatalogueModel) -> int:
    if "dim" in config:
        return int(config["dim"])
    if "block_out_channels" not in config and "num_attention_heads" in config and "attention_head_dim" in config:
        return int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    return _first_channels(config, DEFAULT_WIDTHS[model.family])


def _first_channels(config: dict[str, Any], default: int) -> int:
    channels = config.get("block_out_channels")
    return int(channels[0]) if channels else default
