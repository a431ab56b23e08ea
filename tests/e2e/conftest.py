"""Fixture: a whole farm with the demo model, started as users start it and shared by tests that do not disturb it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.farm import FarmProcess, running_farm


@pytest.fixture(scope="package")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """Run a farm with the demo model and the real renderer."""
    with running_farm(tmp_path_factory.mktemp("farm"), "--model", "demo", "--device", "cpu") as running:
        yield running
