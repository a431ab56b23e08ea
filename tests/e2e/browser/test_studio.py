"""The studio as a whole: its requests, its widths, a phone, from the first run to an export."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.chromium import resize
from tests.e2e.browser.conftest import Record
from tests.e2e.browser.page import Page
from tests.e2e.browser.studio import VIEWS, calls, go, keys, wait_view


def test_no_view_sends_more_than_three_requests_to_open(page: Page, record: Record) -> None:
    page.log_requests()
    for view in VIEWS:
        for _ in range(5):  # On a busy machine, the first renewal of a view may be seen too.
            page.visit("img/mark.svg")
            calls(page)
            page.visit(f"#/{view}")
            wait_view(page, view)
            page.until(
                lambda: page.script(
                    "return performance.getEntriesByType('resource').at(-1).responseEnd + 700 < performance.now()"
                ),
                "the page does not come to rest",
            )
            if len(opened := calls(page)) <= 3:
                break
        assert 1 <= len(opened) <= 3, (view, opened)
    paint = page.script("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    assert paint is not None
    record("first_paint_milliseconds", round(paint))


def test_a_page_that_is_opened_again_asks_for_none_of_its_files(page: Page) -> None:
    sizes = """
        const files = performance.getEntriesByType('resource').filter((one) => one.name.includes('/files/'));
        return files.map((one) => one.transferSize);
    """
    page.open()
    page.open()
    assert len(found := page.script(sizes)) > 30
    assert set(found) == {0}


def test_from_first_run_to_an_export(page: Page, downloads: Path) -> None:
    go(page, "models")
    page.until(lambda: page.shows("#first-run"), "the first run is not explained")
    assert len(page.find_all(".way")) == 3
    assert page.find_all(".model[data-model='demo'] .badge[data-tone='good']")
    go(page, "create")
    page.more()
    page.write("#steps", "3")
    page.write("#prompt", "an otter with a lantern")
    page.until(lambda: "s" in page.text(".estimate-line") and "·" in page.text(".estimate-line"), "no estimate")
    job = page.render("an otter with a lantern")
    page.until(lambda: page.find_all(".card[aria-current][data-status]"), "no live card")
    page.wait_state("succeeded")
    page.click("#details")
    page.until(lambda: page.shows("#viewer"), "the picture did not open in the gallery")
    page.until(lambda: page.find_all("#viewer-refine"), "no actions")
    page.click("#viewer-refine")
    page.until(lambda: page.find_all(".toast"), "the refinement was not reported")
    page.click(".toast .link")
    page.until(lambda: page.shown not in ("", job) and page.find_all("#stage:not([hidden])"), "the refinement did not open")
    page.wait_state("succeeded")
    assert page.image_size() == (1024, 1024)
    page.click("#details")
    page.until(lambda: len(page.find_all("#lineage .tree img")) == 2, "no lineage")
    page.click("#viewer-close")
    page.until(lambda: not page.find_all("#viewer[open]"), "the viewer did not close")
    keys(page, "x", Keys.ARROW_RIGHT, "x")
    page.until(lambda: page.shows("#selection"), "nothing is chosen")
    page.click("#zip")
    page.until(lambda: list(downloads.glob("*.zip")), "no zip was saved")
    [saved] = downloads.glob("*.zip")
    with zipfile.ZipFile(io.BytesIO(saved.read_bytes())) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".png")]) == 2
    assert page.console() == []


def test_no_view_is_wider_than_its_window(page: Page) -> None:
    for view in VIEWS:
        resize(page.driver, (320, 844))
        page.view(view)
        page.until(lambda: page.script("return document.readyState") == "complete", "it did not load")
        for width in (320, 390, 1024):
            resize(page.driver, (width, 844))
            assert_fits(page, view, width)


def assert_fits(page: Page, view: str, width: int) -> None:
    wide = page.script(
        "return [document.documentElement.scrollWidth, [...document.querySelectorAll('#main *')]"
        ".filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
        ".filter((e) => !e.closest('.table-scroll, .tabs, .unseen')).map((e) => e.outerHTML.slice(0, 99)).slice(0, 3)]"
    )
    assert wide[0] <= width, (view, wide)
    assert wide[1] == [], view


def test_a_phone_makes_and_finds_a_picture(page: Page) -> None:
    resize(page.driver, (390, 844))
    page.open()
    page.more()
    page.write("#steps", "2")
    page.render("from the pocket")
    page.wait_state("succeeded")
    box = page.find("#picture").rect
    page.until(
        lambda: -1 < page.script("return document.querySelector('#stage').getBoundingClientRect().top") < 844,
        "the picture is not on the screen",
    )
    assert box["width"] > 300
    page.click("#details")
    page.until(lambda: page.find_all("#viewer[open] #viewer-use"), "the picture did not open")
    wide = (
        "return [...document.querySelectorAll('#viewer button')].filter((e) => e.getBoundingClientRect().right > 391).length"
    )
    assert page.script(wide) == 0, "a button is beyond the edge"
    page.click("#viewer-close")
    page.until(lambda: not page.find_all("#viewer[open]"), "it did not close")
    page.click("#filter-toggle")
    page.until(lambda: page.shows("#filter-model"), "the filters did not open")
    assert page.script("return document.documentElement.scrollWidth") <= 390
