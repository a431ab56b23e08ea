"""The view Models: three ways out of the first run, pulls, files, LoRAs, upscalers, licences, loading."""

from __future__ import annotations

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page
from tests.e2e.browser.stocked import HELD_AFTER, StockedFarm

MODEL = ".model[data-model='{}']"


def models(stocked: StockedFarm, open_page: OpenPage) -> Page:
    page = open_page(stocked, view="models")
    page.until(lambda: page.find_all(".model"), "no models")
    return page


def facts(page: Page, model: str) -> dict[str, str]:
    """Return what the card of a model says, by its headings."""
    return dict(text.split("\n", 1) for text in page.texts(f"{MODEL.format(model)} dl.facts > div"))


def test_the_first_run_offers_a_folder_and_a_file_and_shows_the_files(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = models(stocked, open_page)
    ways = page.texts("#first-run .way")
    assert len(ways) == 3
    assert "IMAGEFARM_WEIGHTS_DIRS=/path/to/ComfyUI/models imagefarm up" in ways[1]
    page.script("navigator.clipboard.writeText = async (text) => { window.written = text; }")
    page.click("#first-run .command button")
    page.until(lambda: page.script("return window.written"), "the command was not copied")
    assert page.script("return window.written").startswith("IMAGEFARM_WEIGHTS_DIRS=")
    page.push("Show the files", "#first-run")
    page.until(lambda: page.find_all("dialog[open] .rows li"), "no files are listed")
    listed = {row.text.split("\n")[0]: row for row in page.find_all("dialog[open] .rows li")}
    assert "dream-shaper" in listed["checkpoints/dream shaper.safetensors"].text, "the model of the file is not named"
    listed["unet/lonely.safetensors"].find_element(By.CSS_SELECTOR, "button").click()
    assert "a text encoder" in page.toast(), "the page does not say what is missing"
    assert page.find_all("dialog[open] .toast"), "the notice is behind the dialog"


def test_a_file_becomes_a_model_once_it_is_whole(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = models(stocked, open_page)
    name = "mine.safetensors"
    stocked.add_checkpoint(name)
    page.click("#model-add")
    page.until(lambda: page.find_all("dialog[open] .rows li"), "no files are listed")
    rows = [row for row in page.find_all("dialog[open] .rows li") if name in row.text]
    assert len(rows) == 1
    page.press(Keys.ESCAPE)
    page.driver.refresh()
    page.until(lambda: page.find_all(MODEL.format("mine")), "the file did not become a model")
    assert facts(page, "mine")["Licence"]


def test_a_repository_is_added_and_asks_what_it_is_like(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = models(stocked, open_page)
    page.click("#model-add")
    page.push("From the hub", "dialog[open]")
    page.write("#asked", "Lykon/dreamshaper-8")
    page.press(Keys.ENTER)
    page.until(
        lambda: "cannot be seen from its name" in page.find("label[for='asked']").text, "it is not asked what it is like"
    )
    page.write("#asked", "sd15")
    page.press(Keys.ENTER)
    page.until(lambda: page.find_all(MODEL.format("dreamshaper-8")), "the repository did not become a model")
    assert "dreamshaper-8" in page.toast()
    page.push("Remove", MODEL.format("dreamshaper-8"))
    page.click("dialog[open] .danger")
    page.until(lambda: not page.find_all(MODEL.format("dreamshaper-8")), "it was not removed")


def test_a_pull_shows_its_progress_and_is_canceled(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = models(stocked, open_page)
    page.push("Pull Z-Image-Turbo", "#first-run")
    bar = f"{MODEL.format('z-image-turbo')} .operation [role='progressbar']"
    page.until(lambda: page.find_all(bar), "no progress is shown")
    page.until(
        lambda: [row for row in page.find_all(bar) if 45 <= int(row.get_attribute("aria-valuenow") or 0) < 100],
        "it does not move",
    )
    operation = f"{MODEL.format('z-image-turbo')} .operation"
    told = ("downloading", f"{HELD_AFTER // 1000} kB / ")
    page.until(lambda: all(each in "".join(page.texts(operation)) for each in told), "it does not say how far it is")
    assert page.texts("#first-run button:disabled") == ["Pull Z-Image-Turbo"]
    page.push("Cancel", f"{MODEL.format('z-image-turbo')} .operation")
    page.until(lambda: not page.find_all(bar), "it was not canceled")
    page.until(lambda: page.button("Pull", MODEL.format("z-image-turbo")), "it cannot be pulled again")
    [latest] = httpx.get(f"{stocked.url}/v1/model-operations", params={"limit": 1}).json()["items"]
    assert (latest["kind"], latest["model"], latest["state"]) == ("pull", "z-image-turbo", "canceled")


def test_a_pull_that_fails_says_why(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = models(stocked, open_page)
    page.push("Pull", MODEL.format("sd-turbo"))
    page.until(lambda: page.find_all("#operations .trouble"), "the failure is not shown")
    [trouble] = page.texts("#operations .trouble")
    assert "sd-turbo" in trouble
    assert "private" in trouble, "the message does not say what to do"


def test_loras_upscalers_and_licences_are_listed(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = models(stocked, open_page)
    loras = {text.split("\n")[0]: text for text in page.texts("section[aria-labelledby='loras-title'] li")}
    assert "for " in loras["ink"]
    assert "damaged" in loras["broken"]
    upscalers = page.texts("section[aria-labelledby='upscalers-title'] li")
    assert any("Lanczos" in row and "present" in row for row in upscalers)
    assert all("Licence: " in row for row in upscalers)
    assert facts(page, "z-image-turbo")["Licence"] == "Apache-2.0"
    assert facts(page, "sdxl-turbo")["Licence"].endswith("(commercial use with conditions)")
    named = page.script("return [...document.querySelectorAll('.model')].every((row) => /Licence\\n.+/.test(row.innerText))")
    assert named, "a model has no licence"


def test_models_are_loaded_and_unloaded(stocked: StockedFarm, open_page: OpenPage) -> None:
    stocked.start_worker("second", "z-image-turbo,sd-turbo")
    page = models(stocked, open_page)
    load = MODEL.format("sd-turbo")
    page.until(lambda: page.texts(f"{load} .badge") == ["on demand"], "the worker's second model is not offered")
    assert not page.find("#first-run").is_displayed(), "the first run is over once a model is served"
    assert facts(page, "sd-turbo")["Workers"] == "second"
    page.push("Load", load)
    assert page.toast() == "The request was sent to the worker."
    page.until(lambda: page.texts(f"{load} .badge") == ["ready"], "it was not loaded")
    page.push("Unload", load)
    page.until(lambda: page.texts(f"{load} .badge") == ["on demand"], "it was not unloaded")
    stocked.stop_worker("second")
