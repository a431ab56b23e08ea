"""Tiny models that the tests of this folder share, and paths without the user's own weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from core.catalogue import CatalogueModel, ModelPaths, load_catalogue
from worker.models.load import LoadedPipeline, LoadRequest, load_pipeline
from worker.models.tiny_models import TINY_MODELS, build_tiny_model

Load = Callable[..., LoadedPipeline]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute sums in the same order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build model id -> its tiny model's folder. Tests must not write there."""
    root = tmp_path_factory.mktemp("tiny-models")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # Diffusers' Euler schedulers.
        return {model_id: build_tiny_model(model_id, root / model_id) for model_id in TINY_MODELS}


@pytest.fixture
def model_paths(tmp_path: Path, tiny_models: dict[str, Path]) -> ModelPaths:
    """Return an empty models directory and hub cache; every model has its tiny model as named folder."""
    return ModelPaths(tmp_path / "models", tiny_models, tmp_path / "hub")


@pytest.fixture
def load(model_paths: ModelPaths) -> Load:
    """Return a function that loads a tiny model by its model's id."""

    def load_one(model_id: str, policy: str = "auto", dtype: str = "auto") -> LoadedPipeline:
        return load_pipeline(catalogue_row(model_id), LoadRequest(model_paths, "cpu", policy, dtype), lambda *_: None)

    return load_one


def catalogue_row(model_id: str) -> CatalogueModel:
    """Return the catalogue row of a model."""
    return load_catalogue().get(model_id)
