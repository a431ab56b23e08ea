"""The studio in one browser: its views, their requests, accessibility, languages, keys, the gallery, masks, several tabs."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from benchmarks.faults.parts import FarmParts
from tests.e2e.browser.chromium import resize, use_scheme
from tests.e2e.browser.conftest import Record
from tests.e2e.browser.page import Page

VIEWS = ("create", "gallery", "models", "farm", "settings")
DESKTOP = (1360, 900)
AXE = Path(__file__).parent / "axe" / "axe.min.js.gz"
IMAGES = 6


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def images(slow_farm: FarmParts) -> list[str]:
    """Render a few images and return their ids, newest first."""
    body = {"prompt": "a red fox in snow", "num_inference_steps": 1, "num_images": IMAGES, "size": "512x512"}
    job = httpx.post(f"{slow_farm.url}/v1/jobs", json=body, headers={"Prefer": "wait=60"}, timeout=90).json()
    assert job["status"] == "succeeded", job
    return sorted((output["id"] for output in job["outputs"]), reverse=True)


@pytest.fixture
def page(slow_farm: FarmParts, driver: Chrome, downloads: Path, images: list[str]) -> Page:
    """Give each test the browser with nothing stored, and its window as it was."""
    allowed = {"behavior": "allow", "downloadPath": str(downloads)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    resize(driver, DESKTOP)
    use_scheme(driver, dark=False)
    opened = Page(driver, slow_farm.url)
    opened.forget()
    return opened


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
    """Return the paths of the API calls since the last call, those for pictures left out."""
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


def test_no_view_sends_more_than_three_requests_to_open(page: Page, record: Record) -> None:
    for view in VIEWS:
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
        opened = calls(page)
        assert len(opened) <= 3, (view, opened)
    paint = page.script("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    assert paint is not None
    record("first_paint_milliseconds", round(paint))


def test_from_first_run_to_an_export(page: Page, downloads: Path) -> None:
    go(page, "models")
    page.until(lambda: page.find("#first-run").is_displayed(), "the first run is not explained")
    assert len(page.find_all(".way")) == 3
    assert page.find_all(".model[data-model='demo'] .badge[data-tone='good']")
    go(page, "create")
    page.more()
    page.write("#steps", "3")
    page.write("#prompt", "an otter with a lantern")
    page.until(lambda: "s" in page.find(".estimate-line").text and "·" in page.find(".estimate-line").text, "no estimate")
    job = page.render("an otter with a lantern")
    page.until(lambda: page.find_all(".card[aria-current][data-status]"), "no live card")
    page.wait_state("succeeded")
    page.click("#details")
    page.until(lambda: page.find("#viewer").is_displayed(), "the picture did not open in the gallery")
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
    page.until(lambda: page.find("#selection").is_displayed(), "nothing is chosen")
    page.click("#zip")
    page.until(lambda: list(downloads.glob("*.zip")), "no zip was saved")
    [saved] = downloads.glob("*.zip")
    with zipfile.ZipFile(io.BytesIO(saved.read_bytes())) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".png")]) == 2
    assert page.console() == []


def test_a_brush_paints_the_mask_of_a_start_image(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "start.png"
    Image.new("RGB", (640, 512), (180, 90, 40)).save(file)
    go(page, "create")
    page.until(lambda: page.find("#model").get_attribute("value"), "the models were not read")
    page.find("#start input[type=file]").send_keys(str(file))
    page.until(lambda: page.find("#mask-open").is_displayed(), "the start image was not taken")
    assert page.find("#size-now").text.endswith("× 464") or "×" in page.find("#size-now").text
    page.click("#mask-open")
    canvas = page.until(lambda: page.find(".mask-canvas"), "no brush")
    drag = ActionChains(page.driver).move_to_element(canvas).click_and_hold()
    drag.move_by_offset(60, 10).move_by_offset(20, 20).release().perform()
    ActionChains(page.driver).move_to_element_with_offset(canvas, -120, 0).click().perform()
    page.click("#mask-undo")
    page.click("#mask-done")
    page.until(lambda: page.find(".start-mask").is_displayed(), "the mask is not shown")
    page.more()
    page.write("#steps", "2")
    job = page.render("a window in the wall")
    page.wait_state("succeeded")
    given = httpx.get(f"{page.url}/v1/jobs/{job}").json()["input"]
    assert given["mask"] != given["init_image"]
    assert given["mask_feather"] == 8
    page.driver.refresh()
    page.until(lambda: page.find(".start-mask").is_displayed(), "the start image was lost with the refresh")


def test_settings_of_a_picture_and_of_a_link_fill_the_form(page: Page, images: list[str]) -> None:
    go(page, "gallery", images[0])
    page.until(lambda: page.find_all("#viewer-use"), "the picture did not open")
    page.click("#viewer-use")
    page.until(lambda: page.find_all("#main[data-view='create']"), "Create did not open")
    page.until(lambda: page.find("#prompt").get_attribute("value") == "a red fox in snow", "the form was not filled")
    seed = httpx.get(f"{page.url}/v1/images/{images[0]}").json()["seed"]
    assert page.find("#seed").get_attribute("value") == str(seed)
    page.visit("#/create?prompt=a%20blue%20door&seed=77&num_inference_steps=5")
    page.until(lambda: page.find("#prompt").get_attribute("value") == "a blue door", "the link did not fill the form")
    assert page.find("#seed").get_attribute("value") == "77"
    assert page.find("#steps").get_attribute("value") == "5"
    assert "?" not in page.driver.current_url


_DROP = """
const done = arguments[1];
fetch(arguments[0]).then((answer) => answer.blob()).then((blob) => {
  const held = new DataTransfer();
  held.items.add(new File([blob], 'found.png', {type: 'image/png'}));
  document.querySelector('.studio').dispatchEvent(new DragEvent('drop', {bubbles: true, dataTransfer: held}));
  done();
});
"""


def test_a_dropped_picture_fills_the_form_with_its_settings(page: Page, images: list[str]) -> None:
    page.open()
    page.driver.execute_async_script(_DROP, f"{page.url}/v1/images/{images[0]}/content")
    page.until(lambda: page.find("#prompt").get_attribute("value") == "a red fox in snow", "its settings were not read")
    assert page.find("#steps").get_attribute("value") == "1"


def test_values_of_one_setting_are_rendered_side_by_side(page: Page) -> None:
    page.open()
    page.more()
    page.script(
        "const box = document.querySelector('#variant-setting'); box.value = 'num_inference_steps';"
        "box.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    page.write("#variant-values", "1, 2, 3")
    page.render("three ways")
    page.until(lambda: len(page.find_all("#siblings .variant img")) == 3, "no three variants")
    assert sorted(button.text for button in page.find_all("#siblings .variant")) == ["1", "2", "3"]
    batch = httpx.get(f"{page.url}/v1/batches", params={"limit": 1}).json()["items"][0]
    jobs = httpx.get(f"{page.url}/v1/batches/{batch['id']}").json()["jobs"]
    assert len({item["outputs"][0]["seed"] for item in jobs}) == 1
    page.click("#compare-variants")
    page.until(lambda: len(page.find_all("dialog.compare[open] .compare-frame")) == 3, "they are not compared")
    keys(page, Keys.ESCAPE)


def test_images_are_made_until_one_stops(page: Page) -> None:
    page.open()
    page.more()
    page.write("#steps", "1")
    page.click(".keep")
    first = page.render("again and again")
    page.until(lambda: page.shown != first, "no second image was started")
    page.click(".keep")
    last = page.shown
    page.until(lambda: (page.shown == last and page.state == "succeeded") or page.shown != last, "it did not end")
    seeds = {
        job["input"]["seed"] for job in httpx.get(f"{page.url}/v1/jobs", params={"q": "again and again"}).json()["items"]
    }
    assert len(seeds) >= 2


def test_several_jobs_are_followed_and_canceled_at_once(page: Page) -> None:
    go(page, "create")
    for number in range(3):
        body = {"prompt": f"one of many {number}", "num_inference_steps": 60}
        httpx.post(f"{page.url}/v1/jobs", json=body, headers={"X-Client-Label": "web"}).raise_for_status()
    page.until(lambda: page.find("#cancel-all").is_displayed(), "the jobs of another program did not appear")
    open_cards = ".card:is([data-status='running'], [data-status='queued'])"
    page.until(lambda: len(page.find_all(open_cards)) >= 3, "not all jobs appeared")
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.open()
    page.until(lambda: len(page.find_all(open_cards)) >= 3, "the second tab does not show them")
    page.driver.close()
    page.driver.switch_to.window(first)
    page.click("#cancel-all")
    page.click("dialog[open] .danger")
    page.until(lambda: not page.find_all(open_cards), "they were not canceled")


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
    page.until(lambda: page.find("#gallery-total").text.startswith(f"{total - 1} "), "it did not leave")
    page.click(".toast .link")
    page.until(lambda: page.find("#gallery-total").text.startswith(f"{total} "), "it did not come back")
    assert httpx.get(f"{page.url}/v1/images/{newest['items'][0]['id']}").status_code == 200


def test_images_are_collected_and_searched(page: Page) -> None:
    go(page, "gallery")
    page.until(lambda: page.find_all(".cell img.in"), "no pictures")
    page.script("document.querySelector('#grid').focus()")
    keys(page, "x", Keys.ARROW_RIGHT, "x")
    page.until(lambda: page.find("#selection").is_displayed(), "nothing is chosen")
    page.click("#collect")
    page.script("document.querySelector('.menu button:last-child').click()")
    page.write("#asked", "best of all")
    page.click("dialog[open] form .primary")
    page.until(lambda: [tab for tab in page.find_all(".tab") if tab.text.startswith("best of all")], "no collection")
    [tab] = [tab for tab in page.find_all(".tab") if tab.text.startswith("best of all")]
    tab.click()
    page.until(lambda: page.find("#gallery-total").text == "2 images", "the collection does not hold both")
    page.find_all(".tab")[0].click()
    page.write("#gallery-search", "no such words at all")
    page.until(lambda: page.find(".gallery .empty").is_displayed(), "the search found something")


def test_language_and_theme_are_chosen_and_kept(page: Page) -> None:
    go(page, "settings")
    page.click("#set-language button[data-value='zh']")
    page.until(lambda: page.find_all("html[lang='zh-CN']"), "the language did not change")
    page.until(lambda: page.find_all("#main > *"), "the view did not open")
    assert [link.text for link in page.find_all(".nav a")] == ["创作", "图库", "模型", "农场", "设置"]
    page.click("#set-theme button[data-value='dark']")
    assert page.script("return getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 18)"
    go(page, "create")
    assert page.find("#submit").text.startswith("生成")
    assert page.script("return getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 18)"
    latin = page.script(
        "return [...document.querySelectorAll('#compose label, #compose .label, #compose button')]"
        ".map((e) => e.innerText.trim()).filter((text) => text && !/[\\u4e00-\\u9fff]/.test(text))"
    )
    assert [text for text in latin if not text[0].isdigit() and text not in ("LoRA",)] == []


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


def findings(page: Page) -> list[Any]:
    """Return axe-core's serious and critical findings: rule, and the first elements.

    The themes differ in their colours alone: in the dark one, only the rule about those is run.
    """
    if not page.script("return Boolean(window.axe)"):
        page.driver.execute_script(gzip.decompress(AXE.read_bytes()).decode())
    options = "resultTypes: ['violations']"
    found = run_axe(page, f"{{{options}}}")
    page.script("document.documentElement.dataset.theme = 'dark'")
    found += run_axe(page, f"{{{options}, runOnly: ['color-contrast']}}")
    page.script("document.documentElement.dataset.theme = 'light'")
    return found


def run_axe(page: Page, options: str) -> list[Any]:
    found = page.driver.execute_async_script(
        f"const done = arguments[0]; axe.run(document, {options}).then((r) => done(r.violations"
        ".filter((v) => ['serious', 'critical'].includes(v.impact))"
        ".map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + n.failureSummary)])))"
    )
    return list(found)


def test_axe_finds_nothing_serious_on_any_view(page: Page, images: list[str]) -> None:
    for view in VIEWS:
        page.view(view)
        if view == "create":
            page.until(lambda: page.find("#model").get_attribute("value"), "the models were not read")
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
            assert findings(page) == [], opener
            keys(page, Keys.ESCAPE)
            page.until(lambda: not page.find_all("dialog[open]"), "the dialog did not close")
    page.view("gallery", images[0])
    page.until(lambda: page.find_all("#viewer-use"), "the picture did not open")
    page.click("#viewer .viewer-actions .icon-button")
    page.until(lambda: page.find_all("#viewer .menu"), "the menu did not open")
    assert findings(page) == [], "menu"
    keys(page, Keys.ESCAPE, Keys.ESCAPE)
    page.until(lambda: not page.find_all("#viewer[open]"), "the viewer did not close")
    page.script("document.querySelector('#grid').focus()")
    keys(page, Keys.HOME, "x", Keys.ARROW_RIGHT, "x", "c")
    page.until(lambda: page.find_all("dialog.compare[open]"), "no comparison")
    assert findings(page) == [], "comparison"


# Words of the page itself: headings, labels, buttons, heads of tables and terms; names of things are not translated.
_LATIN = """
const own = 'h2, h3, label, summary, th, dt, .label, .nav span, button, figcaption > span:first-child, .lead, .links a';
const names = '.worker h3, .model h3, #set-language button, #farm, kbd, .card, td, .sheet, #examples';
return [...document.querySelectorAll(own)].filter((one) => one.checkVisibility() && !one.closest(names))
  .map((one) => one.innerText.trim()).filter((text) => /[A-Za-z]{3,}/.test(text) && !/[\u4e00-\u9fff]/.test(text));
"""
UNTRANSLATED = {"LoRA", "Flower", "PNG", "best of all"}  # the last: a collection


def left_in_latin(page: Page) -> list[str]:
    return [text for text in page.script(_LATIN) if text.rstrip(" \n0123456789") not in UNTRANSLATED]


def test_every_view_speaks_chinese(page: Page, images: list[str]) -> None:
    page.script("localStorage.setItem('imagefarm.language', '\"zh\"')")
    for view, shown in (
        ("create", "#size-now"),
        ("gallery", ".cell"),
        ("models", ".model"),
        ("farm", ".chart"),
        ("settings", "dl"),
    ):
        page.view(view)
        page.appears(shown, f"{view} is empty")
        if view == "create":
            page.more()
        assert left_in_latin(page) == [], view
        assert page.script("return document.title") != "imagefarm"
    page.view("gallery", images[0])
    page.until(lambda: page.find_all("#viewer-use"), "the picture did not open")
    assert left_in_latin(page) == [], "viewer"


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
    page.until(lambda: page.find("#filter-model").is_displayed(), "the filters did not open")
    assert page.script("return document.documentElement.scrollWidth") <= 390


def test_the_farm_shows_its_workers_and_pauses_them(page: Page) -> None:
    go(page, "farm")
    page.until(lambda: page.find_all(".worker"), "no workers")
    page.until(lambda: len(page.find_all(".chart")) == 3, "no charts")
    pause = ".worker .row:last-child button:first-child"
    assert page.find(pause).text == "Pause"
    page.click(pause)
    page.until(lambda: page.find(pause).text == "Resume", "it was not paused")
    page.click(pause)
    page.until(lambda: page.find(pause).text == "Pause", "it was not resumed")
