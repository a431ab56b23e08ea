"""Fixtures: a farm with slow steps for all tests here, and a new browser for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from tests.conftest import missing_tool
from tests.e2e.browser import chromium
from tests.e2e.browser.page import Page
from tests.servers.farm import FarmProcess, running_farm

OpenPage = Callable[..., Page]
SYNTHETIC = {"IMAGEFARM_RENDERER": "synthetic", "IMAGEFARM_SYNTHETIC_STEP_SECONDS": "0.25"}


@pytest.fixture(scope="session", autouse=True)
def _require_browser() -> None:
    if chromium.installed() is None:
        missing_tool("These tests drive a real browser: install chromium and chromedriver.")


@pytest.fixture(scope="package")
def slow_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """Run a farm with the synthetic renderer at 0.25 s per step, slow enough to inspect running jobs."""
    with running_farm(tmp_path_factory.mktemp("slow"), "--model", "demo", "--device", "cpu", **SYNTHETIC) as running:
        yield running


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[OpenPage]:
    """Return a function that opens a farm's page in a new browser; `size` is in CSS pixels, `dark` the colour scheme.

    With `ready`, it returns once the page has read the models.
    """
    with ExitStack() as stack:

        def open_one(
            farm: FarmProcess | FarmParts, *, size: tuple[int, int] = (1360, 900), dark: bool = False, ready: bool = True
        ) -> Page:
            profile = tmp_path / f"profile-{size[0]}-{dark}"
            driver = stack.enter_context(chromium.chromium(profile, size=size, dark=dark))
            page = Page(driver, farm.url if isinstance(farm, FarmParts) else farm.api)
            return page.open() if ready else page.visit()

        yield open_one
