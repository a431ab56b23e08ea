"""One real farm and one that steps slowly, each for all tests here; a fresh browser for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import missing_tool
from tests.e2e.browser import chromium
from tests.e2e.browser.page import Page
from tests.servers.farm import FarmProcess, running_farm

OpenPage = Callable[..., Page]
SYNTHETIC = {"IMAGEFARM_RENDERER": "synthetic", "IMAGEFARM_SYNTHETIC_STEP_SECONDS": "0.25"}


@pytest.fixture(scope="session", autouse=True)
def _browser_is_here() -> None:
    if chromium.installed() is None:
        missing_tool("These tests drive a real browser: install chromium and chromedriver.")


@pytest.fixture(scope="package")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """The demo model, rendered for real."""
    with running_farm(tmp_path_factory.mktemp("farm"), "--model", "demo", "--device", "cpu") as running:
        yield running


@pytest.fixture(scope="package")
def slow_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    """The synthetic renderer, a quarter of a second a step: time to look at a job while it runs."""
    with running_farm(tmp_path_factory.mktemp("slow"), "--model", "demo", "--device", "cpu", **SYNTHETIC) as running:
        yield running


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[OpenPage]:
    """Opens the page of a farm in a new browser; `size` in CSS pixels, `dark` as the user's system prefers.

    With `ready`, once the page knows its models.
    """
    with ExitStack() as stack:

        def open_one(
            farm: FarmProcess, *, size: tuple[int, int] = (1360, 900), dark: bool = False, ready: bool = True
        ) -> Page:
            profile = tmp_path / f"profile-{size[0]}-{dark}"
            driver = stack.enter_context(chromium.chromium(profile, size=size, dark=dark))
            page = Page(driver, farm.api)
            return page.open() if ready else page.visit()

        yield open_one
