"""Tiny models as folders, and their rows with weight files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from core.catalogue import CatalogueModel, LocatedWeights, ModelPaths, load_catalogue
from tests.integration.models.rendering import render
from tests.integration.single_files.original_names import Tensors
from worker.models import load
from worker.models.load import LoadedPipeline, LoadRequest, load_pipeline
from worker.models.tiny_models import build_tiny_model

ROW = "from-files"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute sums in the same order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Model:
    """`folder`: the whole model in diffusers' layout. `configs`: the same without weights. `base`: its catalogue row."""

    base: CatalogueModel
    folder: Path
    configs: Path

    def state(self, component: str, dtype: torch.dtype | None = None) -> Tensors:
        """Return a component's tensors, rounded to `dtype`; tests must not change them."""
        state = _states(self.folder)[component]
        return {name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in state.items()}

    def rounded(self, dtype: torch.dtype) -> Model:
        """Return the model with its weights saved in another dtype."""
        return replace(self, folder=_rounded(self.folder, dtype))


@cache
def _states(folder: Path) -> dict[str, Tensors]:
    """Return each component's tensors, under the names of its class."""
    pipeline = DiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
    parts = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    return {name: dict(part.state_dict()) for name, part in parts.items()}


@cache
def _rounded(folder: Path, dtype: torch.dtype) -> Path:
    rounded = folder.with_name(f"{folder.name}-{str(dtype).removeprefix('torch.')}")
    DiffusionPipeline.from_pretrained(str(folder), dtype=dtype, local_files_only=True).save_pretrained(str(rounded))
    return rounded


Models = Callable[[str], Model]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Return a function for the tiny model of a catalogue id, built once; tests must not write to its folders."""
    built: dict[str, Model] = {}

    def model_of(model_id: str) -> Model:
        if model_id not in built:
            folder = build_tiny_model(model_id, tmp_path_factory.mktemp(model_id))
            configs = tmp_path_factory.mktemp("configs") / model_id
            shutil.copytree(folder, configs, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
            built[model_id] = Model(load_catalogue().get(model_id), folder, configs)
        return built[model_id]

    return model_of


@dataclass(frozen=True)
class Loader:
    """Loads models in memory tiers on the CPU, keeping copies below `models_dir`.

    `references`, `images`: of folders, made by earlier tests; rendering changes nothing of them but the scheduler's step.
    """

    models_dir: Path
    monkeypatch: pytest.MonkeyPatch
    references: dict[str, LoadedPipeline]
    images: dict[str, NDArray[np.float32]]

    def image(self, model: Model, dtype: str) -> NDArray[np.float32]:
        """Return what the model that was loaded from its folder renders, rendered once for all tests."""
        key = repr((model, dtype))
        if key not in self.images:
            self.images[key] = render(self.folder(model, dtype).pipeline)
        return self.images[key]

    def folder(self, model: Model, dtype: str, policy: str = "cpu") -> LoadedPipeline:
        """Load the model from its folder, once for all tests; copies are kept beside the folder."""
        key = repr((model, dtype, policy))
        if key not in self.references:
            models_dir = model.folder.with_name(f"{model.folder.name}-copies")
            paths = ModelPaths(models_dir, {model.base.id: model.folder}, models_dir / "hub")
            request = LoadRequest(paths, "cpu", policy, dtype)
            self.references[key] = load_pipeline(model.base, request, lambda *_: None)
        return self.references[key]

    def files(
        self,
        model: Model,
        files: Mapping[str, Path],
        dtype: str,
        policy: str = "cpu",
        row: str = ROW,
        *,
        recognised: bool = True,
    ) -> LoadedPipeline:
        """Load the model from its files, as a row of a user's catalogue names them.

        `recognised`: False skips what refuses most unusable files before they are opened.
        """
        own = CatalogueModel.model_validate(model.base.model_dump() | {"id": row, "files": files, "aliases": ()})
        # The shipped configurations are of the full size.
        self.monkeypatch.setattr("core.catalogue.configs.config_folder", lambda *_: model.configs)
        if not recognised:
            located = LocatedWeights(model.configs, "files", None, (), own.files)
            self.monkeypatch.setattr(load, "locate", lambda *_: located)
        try:
            paths = ModelPaths(self.models_dir, {}, self.models_dir / "hub")
            return load_pipeline(own, LoadRequest(paths, "cpu", policy, dtype), lambda *_: None)
        finally:
            self.monkeypatch.undo()


@pytest.fixture(scope="session")
def references() -> tuple[dict[str, LoadedPipeline], dict[str, NDArray[np.float32]]]:
    """Return the models that the tests have loaded from folders, and what these have rendered."""
    return {}, {}


@pytest.fixture
def loader(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    references: tuple[dict[str, LoadedPipeline], dict[str, NDArray[np.float32]]],
) -> Loader:
    """Return a loader with an empty models directory."""
    return Loader(tmp_path / "models", monkeypatch, *references)


def save(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a safetensors file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt", **(metadata or {})})
    return path


def assert_same_weights(found: LoadedPipeline, expected: LoadedPipeline) -> None:
    """Compare every tensor and buffer of every component, with its dtype."""
    for name, part in expected.pipeline.components.items():
        if not isinstance(part, nn.Module):
            continue
        other = found.pipeline.components[name]
        assert type(other) is type(part), name
        for kind in ("named_parameters", "named_buffers"):
            wanted, got = dict(getattr(part, kind)()), dict(getattr(other, kind)())
            assert wanted.keys() == got.keys(), name
            for key, tensor in wanted.items():
                assert got[key].dtype == tensor.dtype, f"{name}.{key}"
                assert got[key].device == tensor.device, f"{name}.{key}"
                assert got[key].requires_grad == tensor.requires_grad, f"{name}.{key}"
                assert torch.equal(got[key], tensor), f"{name}.{key}"
