"""Tiny models as folders, and their rows with weight files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import nn

from core.catalogue import CatalogueModel, LocatedWeights, ModelPaths, load_catalogue
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
        """Return a component's tensors, rounded to `dtype`."""
        state = dict(self._pipeline().components[component].state_dict())
        return {name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in state.items()}

    def _pipeline(self) -> DiffusionPipeline:
        return DiffusionPipeline.from_pretrained(str(self.folder), local_files_only=True)

    def rounded(self, dtype: torch.dtype, folder: Path) -> Model:
        """Return the model with its weights saved in another dtype."""
        DiffusionPipeline.from_pretrained(str(self.folder), dtype=dtype, local_files_only=True).save_pretrained(str(folder))
        return replace(self, folder=folder)


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
    """Loads models in memory tiers on the CPU, keeping copies below `models_dir`."""

    models_dir: Path
    monkeypatch: pytest.MonkeyPatch

    def folder(self, model: Model, dtype: str, policy: str = "cpu") -> LoadedPipeline:
        """Load the model from its folder."""
        paths = ModelPaths(self.models_dir, {model.base.id: model.folder}, self.models_dir / "hub")
        return load_pipeline(model.base, LoadRequest(paths, "cpu", policy, dtype), lambda *_: None)

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


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Return a loader with an empty models directory."""
    return Loader(tmp_path / "models", monkeypatch)


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
