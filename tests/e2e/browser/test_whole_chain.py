"""One sitting from the first run to an export: a farm without weights, whose pictures come from the demo model."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page
from tests.e2e.browser.stocked import StockedFarm


def test_from_the_first_run_to_a_zip_of_three_generations(stocked: StockedFarm, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(stocked, ready=False)
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.view("models")
    page.until(lambda: page.shows("#first-run"), "the first run is not explained")
    page.view("create")
    page.console()
    made = create(page)
    refined = make(page, "Refine")
    wait_generations(page, {made: 64, refined: 128})
    page.click("#lineage .tree > li > button")
    page.until(lambda: page.driver.current_url.endswith(made), "the tree did not open its root")
    enlarged = make(page, "Upscale ×4")
    wait_generations(page, {made: 64, enlarged: 256})
    page.click("#lineage .tree > li > button")
    page.until(lambda: len(page.find_all("#lineage .tree > li > ul > li")) == 2, "the tree does not branch")
    wait_generations(page, {made: 64, refined: 128, enlarged: 256})
    page.click("#viewer-close")
    page.until(lambda: not page.find_all("#viewer[open]"), "the viewer did not close")
    page.press(Keys.HOME, "x", Keys.ARROW_RIGHT, "x", Keys.ARROW_RIGHT, "x")
    page.until(lambda: page.text("#selection strong") == "3 selected", "not all are chosen")
    page.click("#zip")
    page.until(lambda: list(tmp_path.glob("*.zip")), "no zip was saved")
    [saved] = tmp_path.glob("*.zip")
    with zipfile.ZipFile(saved) as archive:
        pictures = [archive.read(name) for name in archive.namelist() if name.endswith(".png")]
    widths = sorted(Image.open(io.BytesIO(data)).width for data in pictures)
    assert widths == [64, 128, 256]
    assert page.console() == []


def create(page: Page) -> str:
    """Render one picture by the form, watch its card, and open it in the gallery; return its id."""
    page.until(lambda: page.attribute("#model", "value"), "the models were not read")
    page.more()
    for field, value in (("#width", 64), ("#height", 64), ("#steps", 100)):
        page.write(field, str(value))
    page.until(lambda: " · " not in page.text(".estimate-line"), "an estimate without a prompt")
    job = page.render("an otter with a lantern")
    card = ".card[aria-current][aria-label$='an otter with a lantern']"
    page.until(lambda: page.find_all(f"{card}[data-status='running'] .bar:not([hidden])"), "no card shows the steps")
    page.wait_state("succeeded")
    page.until(lambda: page.find_all(f"{card}[data-status='succeeded'] img"), "the card has no picture")
    assert page.shown == job
    return opened(page)


def make(page: Page, action: str) -> str:
    """Make a picture from the one in the viewer, follow its job, and open the result in the gallery; return its id."""
    before = page.shown
    page.push(action, "#viewer")
    page.until(lambda: page.find_all(".toast .link"), "the new job was not reported")
    page.click(".toast .link")
    page.until(lambda: page.find_all("#main[data-view='create'] #stage:not([data-state='empty'])"), "its job did not open")
    page.until(lambda: page.shown != before, "its job is not displayed")
    page.wait_state("succeeded")
    return opened(page)


def opened(page: Page) -> str:
    """Open the displayed picture in the gallery, and return its id once its details are read."""
    page.script("document.querySelector('#viewer .viewer-side')?.replaceChildren()")  # those of the picture before
    page.click("#details")
    page.until(lambda: "#/gallery/" in page.driver.current_url, "the gallery did not open")
    image = page.driver.current_url.rsplit("/", 1)[-1]
    page.until(lambda: page.find_all("#viewer[open] #viewer-download"), "the picture did not open in the gallery")
    return image


def wait_generations(page: Page, expected: dict[str, int]) -> None:
    """Wait until the tree of generations has these pictures, by their ids with their widths."""
    script = (
        "return Object.fromEntries([...document.querySelectorAll('#lineage .tree button')]"
        ".map((one) => [/images\\/([^/]+)/.exec(one.querySelector('img').src)[1], parseInt(one.title)]))"
    )
    page.until(lambda: page.script(script) == expected, f"the tree does not show {expected}")
