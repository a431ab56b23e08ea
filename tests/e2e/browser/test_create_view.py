"""The view Create: masks, settings of links and pictures, variants, one image after another, many jobs."""

from __future__ import annotations

from pathlib import Path

import httpx
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.page import Page
from tests.e2e.browser.studio import go, keys


def test_a_brush_paints_the_mask_of_a_start_image(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "start.png"
    Image.new("RGB", (640, 512), (180, 90, 40)).save(file)
    go(page, "create")
    page.until(lambda: page.attribute("#model", "value"), "the models were not read")
    page.find("#start input[type=file]").send_keys(str(file))
    page.until(lambda: page.shows("#mask-open"), "the start image was not taken")
    assert page.find("#size-now").text.endswith("× 464") or "×" in page.find("#size-now").text
    page.click("#mask-open")
    canvas = page.until(lambda: page.find(".mask-canvas"), "no brush")
    drag = ActionChains(page.driver).move_to_element(canvas).click_and_hold()
    drag.move_by_offset(60, 10).move_by_offset(20, 20).release().perform()
    ActionChains(page.driver).move_to_element_with_offset(canvas, -120, 0).click().perform()
    page.click("#mask-undo")
    page.click("#mask-done")
    page.until(lambda: page.shows(".start-mask"), "the mask is not shown")
    page.more()
    page.write("#steps", "2")
    job = page.render("a window in the wall")
    page.wait_state("succeeded")
    given = httpx.get(f"{page.url}/v1/jobs/{job}").json()["input"]
    assert given["mask"] != given["init_image"]
    assert given["mask_feather"] == 8
    page.driver.refresh()
    page.until(lambda: page.shows(".start-mask"), "the start image was lost with the refresh")


def test_settings_of_a_picture_and_of_a_link_fill_the_form(page: Page, images: list[str]) -> None:
    go(page, "gallery", images[0])
    page.until(lambda: page.find_all("#viewer-use"), "the picture did not open")
    page.click("#viewer-use")
    page.until(lambda: page.find_all("#main[data-view='create']"), "Create did not open")
    page.until(lambda: page.attribute("#prompt", "value") == "a red fox in snow", "the form was not filled")
    seed = httpx.get(f"{page.url}/v1/images/{images[0]}").json()["seed"]
    assert page.attribute("#seed", "value") == str(seed)
    page.visit("#/create?prompt=a%20blue%20door&seed=77&num_inference_steps=5")
    page.until(lambda: page.attribute("#prompt", "value") == "a blue door", "the link did not fill the form")
    assert page.attribute("#seed", "value") == "77"
    assert page.attribute("#steps", "value") == "5"
    assert "?" not in page.driver.current_url


def test_the_line_before_the_click_asks_for_a_prompt_only_where_there_is_none(page: Page) -> None:
    page.open()
    assert page.text(".estimate-line") == "Write a prompt to see the expected time."
    page.write("#prompt", "a lighthouse")
    page.until(lambda: " · " in page.text(".estimate-line"), "no estimate")
    ActionChains(page.driver).move_to_element(page.find("#banner")).perform()
    page.open()
    assert page.find("#prompt").get_attribute("value") == "a lighthouse"
    assert page.text(".estimate-line") == ""
    height = page.find("#compose").rect["height"]
    page.script("document.querySelector('#prompt').focus()")
    page.until(lambda: " · " in page.text(".estimate-line"), "no estimate once the form is used")
    assert page.find("#compose").rect["height"] == height, "the line moves the button"


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
    page.until(lambda: page.attribute("#prompt", "value") == "a red fox in snow", "its settings were not read")
    assert page.attribute("#steps", "value") == "1"


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
    for number in range(12):  # The worker renders four at a time, for 25 s each.
        body = {"prompt": f"one of many {number}", "num_inference_steps": 100}
        httpx.post(f"{page.url}/v1/jobs", json=body, headers={"X-Client-Label": "web"}).raise_for_status()
    page.until(lambda: page.shows("#cancel-all"), "the jobs of another program did not appear")
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
