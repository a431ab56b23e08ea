"""The view Gallery: its keys, deletion with undo, collections."""

from __future__ import annotations

import httpx
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.page import Page
from tests.e2e.browser.studio import IMAGES, go, keys


def test_the_gallery_is_used_with_the_keyboard_alone(page: Page, images: list[str]) -> None:
    go(page, "gallery")
    page.until(lambda: len(page.find_all(".cell img.in")) >= IMAGES, "no pictures")
    page.script("document.querySelector('#grid').focus()")
    order = httpx.get(f"{page.url}/v1/images", params={"limit": 3}).json()["items"]
    keys(page, Keys.ARROW_RIGHT, "4")
    rated = order[1]["id"]
    page.until(lambda: httpx.get(f"{page.url}/v1/images/{rated}").json()["rating"] == 4, "it was not rated")
    keys(page, "x", Keys.ARROW_RIGHT, "x", "c")
    page.until(lambda: page.find_all("dialog.compare[open]"), "no comparison")
    assert page.find(".compare-over").is_displayed(), "two images are compared under a slider"
    keys(page, Keys.ESCAPE)
    page.until(lambda: not page.find_all("dialog.compare[open]"), "the comparison did not close")
    keys(page, Keys.ESCAPE)
    page.until(lambda: not page.find("#selection").is_displayed(), "the choice was not cleared")
    keys(page, Keys.HOME, Keys.ENTER)
    page.until(lambda: page.find_all("#viewer[open]"), "it did not open")
    keys(page, Keys.ARROW_RIGHT)
    page.until(lambda: page.driver.current_url.endswith(rated), "the next picture did not open")
    keys(page, Keys.ESCAPE)
    page.until(lambda: not page.find_all("#viewer[open]"), "it did not close")
    keys(page, "?")
    page.until(lambda: page.find_all(".keys-dialog[open]"), "the keys are not listed")
    keys(page, Keys.ESCAPE)
    keys(page, "g", "f")
    page.until(lambda: page.find_all("#main[data-view='farm'] .worker"), "the farm did not open")


def test_deleted_pictures_can_be_brought_back(page: Page) -> None:
    go(page, "gallery")
    page.until(lambda: page.find_all(".cell img.in"), "no pictures")
    page.script("document.querySelector('#grid').focus()")
    newest = httpx.get(f"{page.url}/v1/images", params={"limit": 1, "count": True}).json()
    total = newest["total"]
    keys(page, Keys.HOME, Keys.DELETE)
    page.until(lambda: page.text("#gallery-total").startswith(f"{total - 1} "), "it did not leave")
    page.click(".toast .link")
    page.until(lambda: page.text("#gallery-total").startswith(f"{total} "), "it did not come back")
    assert httpx.get(f"{page.url}/v1/images/{newest['items'][0]['id']}").status_code == 200


def test_images_are_collected_and_searched(page: Page) -> None:
    go(page, "gallery")
    page.until(lambda: page.find_all(".cell img.in"), "no pictures")
    page.script("document.querySelector('#grid').focus()")
    keys(page, "x", Keys.ARROW_RIGHT, "x")
    page.until(lambda: page.shows("#selection"), "nothing is chosen")
    page.click("#collect")
    page.script("document.querySelector('.menu button:last-child').click()")
    page.write("#asked", "best of all")
    page.click("dialog[open] form .primary")
    page.until(lambda: [tab for tab in page.find_all(".tab") if tab.text.startswith("best of all")], "no collection")
    [tab] = [tab for tab in page.find_all(".tab") if tab.text.startswith("best of all")]
    tab.click()
    page.until(lambda: page.text("#gallery-total") == "2 images", "the collection does not hold both")
    page.find_all(".tab")[0].click()
    page.write("#gallery-search", "no such words at all")
    page.until(lambda: page.shows(".gallery .empty"), "the search found something")
