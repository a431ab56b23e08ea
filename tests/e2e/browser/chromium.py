"""A real Chromium driven by Selenium, with a temporary profile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--kiosk",  # without tabs and bars: to draw these takes a tenth of the browser's processor time
)


def installed() -> tuple[str, str] | None:
    """Return the paths of the browser and its driver; None when either is not installed."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = next(filter(None, map(shutil.which, DRIVERS)), None)
    return (browser, driver) if browser and driver else None


@contextmanager
def chromium(
    profile: Path, *, size: tuple[int, int] = (1360, 900), dark: bool = False, motion: bool = False, trace: str = ""
) -> Iterator[webdriver.Chrome]:
    """Open a browser window of `size` CSS pixels with an empty profile folder; console logs are kept.

    Tests ask for reduced `motion`: without a GPU, each frame of an animation costs processor time. `trace` names
    categories of Chromium's tracing, whose events the performance log then holds.
    """
    found = installed()
    if found is None:
        raise RuntimeError("no Chromium with its driver on this machine")
    options = Options()
    options.binary_location = found[0]
    still = () if motion else ("--force-prefers-reduced-motion",)
    for switch in (*_SWITCHES, *still, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    traced = {"traceCategories": trace} if trace else {}
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False, **traced})
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    driver.set_script_timeout(300)
    try:
        resize(driver, size)
        use_scheme(driver, dark=dark)
        yield driver
    finally:
        driver.quit()


def use_scheme(driver: webdriver.Chrome, *, dark: bool) -> None:
    """Let pages see that the user prefers dark or light colours."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def resize(driver: webdriver.Chrome, size: tuple[int, int]) -> None:
    """Set the size of the page, also below the minimum width of a window."""
    metrics: dict[str, Any] = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
