"""A model manager in this process: it stops, finds a folder in use, and refuses to remove weights that are served."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.catalogue import ModelPaths
from core.model_operations import OperationKind
from core.settings import Settings
from db import workers
from db.database import Database
from db.model_operations import get_operation, start
from db.tables import ModelOperation
from tests.conftest import Migrate
from tests.integration.models.conftest import catalogue_row
from tests.integration.models.hub_server import HubServer
from worker.model_manager.manager import ModelManager
from worker.models.pull.pull import exclusive_pull
from worker.models.tiny_models import build_tiny_model

TURBO = catalogue_row("z-image-turbo")
BIG = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def settings(tmp_path: Path, fresh_sqlite: str, migrate: Migrate) -> Settings:
    migrate(fresh_sqlite)
    return Settings(_env_file=None, data_dir=tmp_path / "data", database_url=fresh_sqlite)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = Database(settings.resolved_database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def manager(settings: Settings) -> Iterator[ModelManager]:
    made = ModelManager(settings)
    yield made
    made.close()


def test_a_stopped_manager_gives_its_operation_back(
    settings: Settings, database: Database, manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer({TURBO.weights.repo: build_tiny_model(TURBO.id, tmp_path / "turbo")}) as hub:
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hub")}.items():
            monkeypatch.setenv(name, value)
        hub.held_after[BIG] = 500_000
        operation = start(database, OperationKind.PULL, TURBO.id, "ann").operation
        manager.round()
        assert hub.holding.wait(300)
        manager.close()
        given_back = get_operation(database, operation.id)
        assert (given_back.state, given_back.attempt, given_back.executor) == ("queued", 0, None)
        assert given_back.lease_until is None
        with exclusive_pull(ModelPaths.of(settings), TURBO.id):
            pass  # Its process has ended.


def test_an_operation_waits_while_somebody_else_works_on_the_folder(
    settings: Settings, database: Database, manager: ModelManager
) -> None:
    operation = start(database, OperationKind.REMOVE_WEIGHTS, TURBO.id, "ann").operation
    with exclusive_pull(ModelPaths.of(settings), TURBO.id):
        manager.round()
        waiting = when_given_back(database, operation)
    assert waiting.detail == "Another pull of z-image-turbo is running."
    assert waiting.lease_until is not None


def test_weights_that_a_live_worker_serves_are_not_removed(database: Database, manager: ModelManager) -> None:
    operation = start(database, OperationKind.REMOVE_WEIGHTS, TURBO.id, "ann").operation
    workers.register(database, workers.Registration("w1", "run-1", TURBO.id, "cpu", capacity=1))
    manager.round()
    failed = get_operation(database, operation.id)
    assert (failed.state, failed.error_code) == ("failed", "model_in_use")


def when_given_back(database: Database, operation: ModelOperation) -> ModelOperation:
    """Return the operation once its process has ended and it waits again."""
    end = time.monotonic() + 300
    while (found := get_operation(database, operation.id)).detail is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return found
