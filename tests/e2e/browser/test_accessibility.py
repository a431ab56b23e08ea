"""Axe-core on every view, in dialogs and menus, in both themes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.page import Page
from tests.e2e.browser.studio import VIEWS, keys

AXE = Path(__file__).parent / "axe" / "axe.min.js.gz"


def findings(page: Page, within: str = "html") -> list[Any]:
    """Return axe-core's serious and critical findings in an element: rule, and the first elements.

    The themes differ in their colours alone: in the dark one, only the rule about those is run.
    """
    if not page.script("return Boolean(window.axe)"):
        page.driver.execute_script(gzip.decompress(AXE.read_bytes()).decode())
    options = "resultTypes: ['violations']"
    found = run_axe(page, within, f"{{{options}}}")
    page.script("document.documentElement.dataset.theme = 'dark'")
    found += run_axe(page, within, f"{{{options}, runOnly: ['color-contrast']}}")
    page.script("document.documentElement.dataset.theme = 'light'")
    return found


def run_axe(page: Page, within: str, options: str) -> list[Any]:
    found = page.driver.execute_async_script(
        f"const done = arguments[0]; axe.run({json.dumps(within)}, {options}).then((r) => done(r.violations"
        ".filter((v) => ['serious', 'critical'].includes(v.impact))"
        ".map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + n.failureSummary)])))"
    )
    return list(found)


def test_axe_finds_nothing_serious_on_any_view(page: Page, images: list[str]) -> None:
    for view in VIEWS:
        page.view(view)
        if view == "create":
            page.until(lambda: page.attribute("#model", "value"), "the models were not read")
            page.more()
        if view == "gallery":
            page.until(lambda: page.find_all(".cell img.in"), "no pictures")
        if view == "farm":
            page.until(lambda: page.find_all(".chart"), "no charts")
        if view == "models":
            page.until(lambda: page.find_all(".model"), "no models")
        assert findings(page) == [], view
    page.view("gallery", images[0])
    page.until(lambda: page.find_all("#viewer-use"), "the picture did not open")
    assert findings(page) == [], "viewer"


DIALOGS = {
    "create": ("#style-add",),
    "models": ("#model-add", ".model[data-model='demo'] .row:last-child button"),
    "gallery": (".gallery-head > .icon-button",),
    "farm": (".worker .quiet-danger",),
}


def test_axe_finds_nothing_serious_in_dialogs_and_menus(page: Page, images: list[str]) -> None:
    for view, openers in DIALOGS.items():
        page.view(view)
        for opener in openers:
            page.appears(opener, f"{view} has no {opener}")
            page.click(opener)
            page.until(lambda: page.find_all("dialog[open] h2"), f"{opener} opened no dialog")
            assert findings(page, "dialog[open]") == [], opener
            keys(page, Keys.ESCAPE)
            page.until(lambda: not page.find_all("dialog[open]"), "the dialog did not close")
    page.view("gallery", images[0])
    page.until(lambda: page.find_all("#viewer-use"), "the picture did not open")
    page.click("#viewer .viewer-actions .icon-button")
    page.until(lambda: page.find_all("#viewer .menu"), "the menu did not open")
    assert findings(page, "#viewer") == [], "menu"
    keys(page, Keys.ESCAPE, Keys.ESCAPE)
    page.until(lambda: not page.find_all("#viewer[open]"), "the viewer did not close")
    page.script("document.querySelector('#grid').focus()")
    keys(page, Keys.HOME, "x", Keys.ARROW_RIGHT, "x", "c")
    page.until(lambda: page.find_all("dialog.compare[open]"), "no comparison")
    assert findings(page, "dialog.compare") == [], "comparison"
