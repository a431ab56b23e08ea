"""Fixtures: a real farm and one with slow steps, and one browser, for all tests here; each test finds it as if new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Chrome

from benchmarks.faults.parts import FarmParts
from tests.conftest import Migrate, missing_tool
from tests.e2e.browser import chromium
from tests.e2e.browser.page import Page
from tests.e2e.browser.stocked import StockedFarm, stocked_farm
from tests.e2e.browser.studio import IMAGES
from tests.integration.farm.conftest import sqlite_farm
from tests.servers.farm import FarmProcess

OpenPage = Callable[..., Page]
Record = Callable[[str, object], None]


@pytest.fixture(scope="session", autouse=True)
def _require_browser() -> None:
    if chromium.installed() is None:
        missing_tool("These tests drive a real browser: install chromium and chromedriver.")


@pytest.fixture(scope="package")
def slow_farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    """Run a farm with the synthetic renderer at 0.25 s per step, slow enough to inspect running jobs."""
    with sqlite_farm(tmp_path_factory.mktemp("slow"), migrate, synthetic_step_seconds=0.25) as running:
        yield running


@pytest.fixture(scope="package")
def stocked(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[StockedFarm]:
    """Run a farm with weight files, LoRAs, wildcards, a hub and an upscaling worker."""
    with stocked_farm(tmp_path_factory.mktemp("stocked"), migrate) as running:
        yield running


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Return a function that adds a figure, which no test judges, to the test's report."""
    return lambda name, value: request.node.user_properties.append((name, value))


@pytest.fixture(scope="package")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Open one browser: a new one for each test would cost more than most tests."""
    with chromium.chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def open_page(driver: Chrome) -> OpenPage:
    """Return a function that opens a farm's page; `size` is in CSS pixels, `dark` the colour scheme.

    Nothing of earlier tests is stored there: no form, no session, no console. With `ready`, it returns once the page has
    read the models; with a `view`, once that is there.
    """

    def open_one(
        farm: FarmProcess | FarmParts | StockedFarm,
        *,
        size: tuple[int, int] = (1360, 900),
        dark: bool = False,
        ready: bool = True,
        view: str = "",
        log_requests: bool = False,
    ) -> Page:
        chromium.resize(driver, size)
        chromium.use_scheme(driver, dark=dark)
        page = Page(driver, farm.api if isinstance(farm, FarmProcess) else farm.url)
        page.forget()
        if log_requests:
            page.log_requests()
        if view:
            return page.view(view)
        return page.open() if ready else page.visit()

    return open_one


@pytest.fixture(scope="package")
def images(slow_farm: FarmParts) -> list[str]:
    """Render a few images and return their ids, newest first."""
    body = {"prompt": "a red fox in snow", "num_inference_steps": 1, "num_images": IMAGES, "size": "512x512"}
    job = httpx.post(f"{slow_farm.url}/v1/jobs", json=body, headers={"Prefer": "wait=280"}, timeout=300).json()
    assert job["status"] == "succeeded", job
    return sorted((output["id"] for output in job["outputs"]), reverse=True)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


@pytest.fixture
def page(slow_farm: FarmParts, driver: Chrome, downloads: Path, images: list[str]) -> Page:
    """Give each test of the studio the browser with nothing stored, on a farm with a few images."""
    allowed = {"behavior": "allow", "downloadPath": str(downloads)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    chromium.resize(driver, (1360, 900))
    chromium.use_scheme(driver, dark=False)
    opened = Page(driver, slow_farm.url)
    opened.forget()
    return opened
