"""A component in a single file, in whatever key layout it was published, as its class's tensors; a name for its content."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from core.catalogue.model_folder import components
from core.catalogue.weight_file import WeightFile
from worker.memory.weight_source import MappedWeights
from worker.models.packed_copy import empty_module, with_weights
from worker.models.single_files.class_tensors import Tensors, convert
from worker.models.single_files.fp8 import load_fp8
from worker.models.single_files.gguf import load_gguf
from worker.models.single_files.tensors import FP8, component_tensors, unusable

log = logging.getLogger(__name__)
NAMED = 3
"""How many unused tensors a warning names."""


@dataclass(frozen=True)
class FileSource:
    """`component` of the weight file `file`; `configs`: folder of configurations in the layout of diffusers."""

    component: str
    file: WeightFile
    configs: Path

    @property
    def name(self) -> str:
        """Return the component's name in its pipeline."""
        return self.component

    @property
    def config(self) -> Path:
        """Return the folder that holds its config.json."""
        return self.configs / self.component

    @property
    def library(self) -> str:
        """Return `diffusers` or `transformers`."""
        return self._row[0]

    @property
    def cls(self) -> str:
        """Return the name of its class."""
        return self._row[1]

    @property
    def _row(self) -> tuple[str, str]:
        return components(self.configs)[self.component]

    @property
    def stays_packed(self) -> bool:
        """Whether the file's own quantised form is loaded, in every memory tier."""
        if self.file.container == "gguf":
            return True
        return any(tensor.dtype in FP8 for tensor in self._stored.values())

    def files(self) -> list[Path]:
        """Return weights and configuration."""
        return [self.file.path, self.config / "config.json"]

    def weights(self) -> MappedWeights:
        """Return the tensors under the names of the component's class, mapped from the file."""
        return MappedWeights(self._converted)

    def check(self) -> None:
        """Raise RenderError `model_unavailable` where a load would, such as for a missing tensor; no matrix is read."""
        if self.stays_packed:
            self.load(torch.bfloat16)
        else:
            self.weights()

    def load(self, dtype: torch.dtype) -> nn.Module:
        """Load the component on the CPU: mapped where the file has it in that dtype, else cast tensor by tensor."""
        if self.file.container == "gguf":
            return load_gguf(self.component, self.file, self.configs, dtype)
        if self.stays_packed:
            return load_fp8(self.component, self.file, self.configs, dtype)
        tensors = {name: each.to(dtype) if each.is_floating_point() else each for name, each in self._converted.items()}
        return with_weights(empty_module(self), tensors, frozen=False)

    @cached_property
    def _stored(self) -> Tensors:
        """Return the component's tensors under the file's names, mapped from it."""
        return component_tensors(self.file.path, self.component)

    @cached_property
    def _converted(self) -> Tensors:
        """Convert and check: every tensor of the module is there, in its shape."""
        path = self.file.path
        module = empty_module(self)
        converted = convert(self._stored, module)
        if missing := converted.missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise unusable(path, f"lacks the tensor {missing[0]}{more} of {self.cls}: it is incomplete, or of another model")
        expected = module.state_dict()
        for name, tensor in converted.tensors.items():
            if tensor.shape != expected[name].shape:
                shapes = f"{list(tensor.shape)}, where {self.cls} has {list(expected[name].shape)}"
                raise unusable(path, f"holds {name} in the shape {shapes}: it belongs to another model")
        if unused := converted.unexpected:
            more = f" and {len(unused) - NAMED} more" if len(unused) > NAMED else ""
            log.warning("%s: tensors that %s does not use: %s%s", path, self.cls, ", ".join(unused[:NAMED]), more)
        return converted.tensors


def load_component_file(component: str, file: WeightFile, configs: Path, dtype: torch.dtype) -> nn.Module:
    """Load one component of a single file on the CPU; GGUF and FP8 stay packed.

    Raise RenderError `model_unavailable`, naming the file, when it lacks a tensor or is damaged.
    """
    return FileSource(component, file, configs).load(dtype)


SAMPLE_BYTES = 65_536
SAMPLES = 16


def revision_of_files(paths: Iterable[Path]) -> str:
    """Name the weights of an image: `name@digest` of each file, in the order of their names, each file once."""
    return " ".join(f"{path.name}@{sample_digest(path)}" for path in sorted(set(paths), key=lambda path: path.name))


def sample_digest(path: Path) -> str:
    """Hash the size and evenly spaced parts of the file with its beginning and end, which takes milliseconds."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    last = max(size - SAMPLE_BYTES, 0)
    with path.open("rb") as opened:
        for position in sorted({last * index // (SAMPLES - 1) for index in range(SAMPLES)}):
            opened.seek(position)
            digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()[:12]
