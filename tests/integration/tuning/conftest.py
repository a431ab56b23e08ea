"""Twins to tune: each test gets a pipeline of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from core.catalogue import CatalogueModel
from tests.integration.engine.twins import Twin
from worker.pipelines.tuning.rehearsal import Rehearsal

CPU = torch.device("cpu")
MakeTwin = Callable[..., Twin]


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where twins are built once."""
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in the same order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_twin(directory: Path) -> MakeTwin:
    """A twin that the test may change; default size 128x128, so that a rehearsal is short."""

    def make(model_id: str = "z-image-turbo", dtype: str = "bfloat16") -> Twin:
        return Twin(model_id, directory, dtype)

    return make


def rehearsal_of(twin: Twin, token_budget: int = 4096) -> Rehearsal:
    """Of small pictures."""
    return Rehearsal(twin.family, small(twin.model), CPU, token_budget)


def small(model: CatalogueModel) -> CatalogueModel:
    """The row with a default size of 128x128."""
    defaults = model.defaults.model_copy(update={"width": 128, "height": 128})
    return model.model_copy(update={"defaults": defaults})
