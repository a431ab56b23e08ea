"""What the tests of the studio share: its views, and how they are opened."""

from __future__ import annotations

import json

from selenium.webdriver.common.action_chains import ActionChains

from tests.e2e.browser.page import Page

VIEWS = ("create", "gallery", "models", "farm", "settings")
IMAGES = 6


def go(page: Page, view: str, item: str = "") -> None:
    """Open a view by its address, and wait until it is there."""
    was_open = page.driver.current_url.startswith(f"{page.url}/#")
    page.visit(f"#/{view}{f'/{item}' if item else ''}")
    if was_open:
        page.driver.refresh()
    wait_view(page, view)


def wait_view(page: Page, view: str) -> None:
    page.until(lambda: page.find_all(f"#main[data-view='{view}'] > *"), f"{view} did not open")


def keys(page: Page, *pressed: str) -> None:
    ActionChains(page.driver).send_keys(*pressed).perform()


def calls(page: Page) -> list[str]:
    """Return the paths of the API calls since the last call, those for pictures left out; see `Page.log_requests`."""
    found = []
    for entry in page.driver.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent" and message["params"].get("type") in (
            "XHR",
            "Fetch",
            "EventSource",
        ):
            found.append(message["params"]["request"]["url"].removeprefix(page.url))
    return found
