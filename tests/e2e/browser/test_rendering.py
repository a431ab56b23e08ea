"""From a prompt to an image, with the demo model."""

from __future__ import annotations

from pathlib import Path

import httpx

from core.imagefile import read_metadata
from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page
from tests.servers.farm import FarmProcess

PROMPT = "一只猫坐在窗边 🐈, a cat at a window <img src=x onerror=window.hit=1>"


def render_small(page: Page, prompt: str) -> str:
    """Render a small image in one step, for tests that look at neither; return the id of its job once it is displayed."""
    page.more()
    for field, value in (("#width", "64"), ("#height", "64"), ("#steps", "1")):
        page.write(field, value)
    return page.render(prompt)


def test_a_prompt_becomes_an_image_with_its_settings(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm, log_requests=True)
    page.render(PROMPT)
    page.wait_state("succeeded")
    assert page.image_size() == (512, 512)
    assert page.find("#story").text == PROMPT
    assert (page.fact("Model"), page.fact("Size"), page.fact("Steps")) == ("demo", "512 × 512", "8")
    file = httpx.get(page.attribute("#download", "href") or "").content
    metadata = read_metadata(file).imagefarm
    assert metadata is not None
    assert (metadata.prompt, str(metadata.seed)) == (PROMPT, page.fact("Seed"))
    assert (page.attribute("#download", "download") or "").startswith("outputs_20")
    assert page.script("return window.hit") is None
    assert page.requested() == {page.url}
    assert page.console() == []


def test_download_saves_the_stored_file(farm: FarmProcess, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(farm)
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    render_small(page, "to keep")
    page.wait_state("succeeded")
    page.click("#download")
    name = page.attribute("#download", "download") or ""
    saved = tmp_path / name
    # The browser reserves the name with an empty file, and puts the whole one in its place.
    page.until(lambda: saved.exists() and saved.stat().st_size, f"{name} was not saved")
    metadata = read_metadata(saved.read_bytes())
    assert (metadata.format, metadata.width, metadata.settings()["prompt"]) == ("PNG", 64, "to keep")


def test_the_banner_explains_that_demo_images_are_noise_and_what_to_do(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm)
    assert "its images are noise" in page.find("#banner").text
    assert page.find("#banner code").text == "imagefarm models pull z-image-turbo"
    render_small(page, "noise, please")
    page.wait_state("succeeded")
    assert "its images are noise" in page.find("#notes").text


def test_size_buttons_and_settings_apply_to_the_image(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm)
    page.click("#sizes label:has(input[value='768'])")
    page.click("#ratios label:has(input[value='3:4'])")
    page.more()
    page.write("#steps", "3")
    page.write("#guidance", "4.5")
    page.write("#seed", "77")
    page.write("#negative", "blurry")
    page.render("a tall tree")
    page.wait_state("succeeded")
    assert page.image_size() == (640, 896)
    assert [page.fact(name) for name in ("Size", "Steps", "Guidance", "Seed", "Without")] == [
        "640 × 896",
        "3",
        "4.5",
        "77",
        "blurry",
    ]


def test_each_image_of_a_job_has_its_own_seed(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm)
    page.more()
    page.write("#seed", "100")
    page.write("#count", "2")
    render_small(page, "two of them")
    page.wait_state("succeeded")
    page.until(lambda: len(page.find_all("#strip button")) == 2, "no strip of two images")
    assert page.fact("Seed") == "100"
    page.click("#strip button:nth-child(2)")
    assert page.fact("Seed") == "101"
    assert page.script("return document.activeElement.ariaPressed") == "true"


def test_again_draws_a_new_seed_and_edit_restores_the_old_one(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm)
    first = render_small(page, "once more")
    page.wait_state("succeeded")
    seed = page.fact("Seed")
    page.click("#again")
    page.until(lambda: page.shown != first, "no new job is displayed")
    page.wait_state("succeeded")
    assert page.fact("Seed") != seed
    assert page.find("#story").text == "once more"
    page.driver.back()
    page.until(lambda: page.fact("Seed") == seed, "back did not show the first image")
    page.write("#prompt", "something else")
    page.click("#reuse")
    assert page.attribute("#prompt", "value") == "once more"
    assert page.attribute("#seed", "value") == seed


def test_the_page_works_with_the_keyboard_alone(farm: FarmProcess, open_page: OpenPage) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page = open_page(farm)
    ActionChains(page.driver).send_keys(Keys.TAB, Keys.ENTER).perform()
    assert page.script("return document.activeElement.id") == "prompt"
    keys = ActionChains(page.driver).send_keys("typed by hand")
    keys.key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    page.wait_state("succeeded")
    assert page.find("#announcer").text in ("", "The image is ready")
    announced = "return document.querySelector('#announcer').textContent"
    page.until(lambda: page.script(announced) == "The image is ready", "the end is not announced")
