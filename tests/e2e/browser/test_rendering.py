"""From a prompt to an image, with the demo model."""

from __future__ import annotations

from pathlib import Path

import httpx

from core.imagefile import read_metadata
from tests.e2e.browser.conftest import OpenPage
from tests.servers.farm import FarmProcess

PROMPT = "一只猫坐在窗边 🐈, a cat at a window <img src=x onerror=window.hit=1>"


def test_a_prompt_becomes_an_image_with_its_settings(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm, log_requests=True)
    page.render(PROMPT)
    page.wait_state("succeeded")
    assert page.image_size() == (512, 512)
    assert page.find("#story").text == PROMPT
    assert (page.fact("Model"), page.fact("Size"), page.fact("Steps")) == ("demo", "512 × 512", "8")
    file = httpx.get(page.find("#download").get_attribute("href") or "").content
    metadata = read_metadata(file).imagefarm
    assert metadata is not None
    assert (metadata.prompt, str(metadata.seed)) == (PROMPT, page.fact("Seed"))
    assert (page.find("#download").get_attribute("download") or "").startswith("outputs_20")
    assert page.script("return window.hit") is None
    assert page.requested() == {page.url}
    assert page.console() == []


def test_download_saves_the_stored_file(farm: FarmProcess, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(farm)
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.render("to keep")
    page.wait_state("succeeded")
    page.click("#download")
    name = page.find("#download").get_attribute("download") or ""
    page.until((tmp_path / name).exists, f"{name} was not saved")
    metadata = read_metadata((tmp_path / name).read_bytes())
    assert (metadata.format, metadata.width, metadata.settings()["prompt"]) == ("PNG", 512, "to keep")


def test_the_banner_explains_that_demo_images_are_noise_and_what_to_do(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm)
    assert "its images are noise" in page.find("#banner").text
    assert page.find("#banner code").text == "imagefarm models pull z-image-turbo"
    page.render("noise, please")
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
    page.render("two of them")
    page.wait_state("succeeded")
    page.until(lambda: len(page.find_all("#strip button")) == 2, "no strip of two images")
    assert page.fact("Seed") == "100"
    page.click("#strip button:nth-child(2)")
    assert page.fact("Seed") == "101"
    assert page.script("return document.activeElement.ariaPressed") == "true"


def test_again_draws_a_new_seed_and_edit_restores_the_old_one(farm: FarmProcess, open_page: OpenPage) -> None:
    page = open_page(farm)
    first = page.render("once more")
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
    assert page.find("#prompt").get_attribute("value") == "once more"
    assert page.find("#seed").get_attribute("value") == seed


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
