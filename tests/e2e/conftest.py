"""A whole farm as its user starts it, with the demo model, shared by the tests that do it no harm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.farm import FarmProcess, running_farm


@pytest.fixture(scope="package")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """The demo model, rendered for real."""
    with running_farm(tmp_path_factory.mktemp("farm"), "--model", "demo", "--device", "cpu") as running:
        yield running
