"""Tiny models to tune: each test gets its own pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from core.catalogue import CatalogueModel
from tests.integration.engine.tiny_models import TinyModel
from worker.pipelines.tuning.warmup import Warmup

CPU = torch.device("cpu")
MakeTinyModel = Callable[..., TinyModel]


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory where tiny models are built once."""
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute sums in the same order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_tiny_model(directory: Path) -> MakeTinyModel:
    """Return a function that builds a tiny model for one test."""

    def make(model_id: str = "z-image-turbo", dtype: str = "bfloat16") -> TinyModel:
        return TinyModel(model_id, directory, dtype)

    return make


def warmup_of(tiny_model: TinyModel, token_budget: int = 4096) -> Warmup:
    """Return a warm-up of small images."""
    return Warmup(tiny_model.family, small(tiny_model.model), CPU, token_budget)


def small(model: CatalogueModel) -> CatalogueModel:
    """Return the row with a default size of 128x128."""
    defaults = model.defaults.model_copy(update={"width": 128, "height": 128})
    return model.model_copy(update={"defaults": defaults})
