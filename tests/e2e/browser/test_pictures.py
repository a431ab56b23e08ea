"""Pictures in the gallery: two under a slider, a grid as a table, variations, runs again, deletion at the end of a visit."""

from __future__ import annotations

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page
from tests.e2e.browser.stocked import StockedFarm


@pytest.fixture
def pair(stocked: StockedFarm) -> list[str]:
    """Render two pictures and return their ids, the newest first."""
    return [
        str(stocked.render(f"{name} of a pair", seed=seed)["outputs"][0]["id"])
        for name, seed in (("first", 1), ("second", 2))
    ][::-1]


def gallery(stocked: StockedFarm, open_page: OpenPage) -> Page:
    page = open_page(stocked, view="gallery")
    page.until(lambda: page.find_all(".cell img.in"), "no pictures")
    page.script("document.querySelector('#grid').focus()")
    return page


def newest(stocked: StockedFarm, count: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = httpx.get(f"{stocked.url}/v1/images", params={"limit": count}).json()["items"]
    return found


def test_two_pictures_are_compared_with_a_slider_and_zoomed_in_step(
    stocked: StockedFarm, open_page: OpenPage, pair: list[str]
) -> None:
    page = gallery(stocked, open_page)
    page.press(Keys.HOME, "x", Keys.ARROW_RIGHT, "x", "c")
    page.until(lambda: page.find_all("dialog.compare[open] #compare-slider"), "no comparison")
    pictures = [picture.get_attribute("src") or "" for picture in page.find_all(".compare-over img")]
    assert [image in src for image, src in zip(pair, pictures, strict=True)] == [True, True]
    cut = "return getComputedStyle(document.querySelector('.layer.top')).clipPath"
    before = page.script(cut)
    page.script("document.querySelector('#compare-slider').focus()")
    page.press(Keys.END)
    assert page.attribute("#compare-slider", "value") == "100"
    assert page.script(cut) != before, "the slider does not cut the upper picture"
    differing = {row.text.split(" ")[0] for row in page.find_all(".compare-table tbody tr")}
    assert {"Prompt", "Seed"} <= differing
    page.click("#compare-mode")
    page.until(lambda: page.shows(".compare-side"), "they are not side by side")
    page.script(
        "document.querySelector('.compare-frame').dispatchEvent(new WheelEvent('wheel', {deltaY: -1, cancelable: true}))"
    )
    scales = page.script("return [...document.querySelectorAll('.compare-side img')].map((one) => one.style.transform)")
    assert len(set(scales)) == 1
    assert "scale(1.2)" in scales[0]


def test_a_labelled_grid_opens_as_a_table_with_a_picture_in_each_cell(stocked: StockedFarm, open_page: OpenPage) -> None:
    axes = {"num_inference_steps": [1, 2], "guidance_scale": [1, 3, 5]}
    body = {"name": "steps by guidance", "base": {"prompt": "a grid of six", "size": "64x64"}, "axes": axes}
    batch = httpx.post(f"{stocked.url}/v1/batches", json=body).json()
    path = f"{stocked.url}/v1/batches/{batch['id']}"
    page = open_page(stocked)
    page.until(lambda: httpx.get(path).json()["status"] == "finished", "the batch did not end")
    page.view("gallery")
    choose = (
        "const box = document.querySelector('#filter-batch');"
        "if (![...box.options].some((one) => one.value === arguments[0])) return false;"
        "box.value = arguments[0]; box.dispatchEvent(new Event('change')); return true"
    )
    page.until(lambda: page.script(choose, batch["id"]), "the filter does not offer the batch")
    page.until(lambda: page.text("#gallery-total") == "6 images", "the gallery is not filtered")
    page.click("#open-sheet")
    page.until(lambda: len(page.find_all(".sheet .sheet-cell img")) == 6, "no table of six pictures")
    assert page.find("dialog[open] h2").text == "steps by guidance"
    heads = [[cell.text for cell in page.find_all(f".sheet {part} th")] for part in ("thead", "tbody")]
    assert heads == [["Guidance / Steps", "1", "2"], ["1", "3", "5"]]
    page.find(".sheet .sheet-cell").click()
    page.until(lambda: page.find_all("#viewer[open] #viewer-download"), "the picture of a cell did not open")


def test_a_picture_is_varied_and_run_again_and_rated_in_the_viewer(
    stocked: StockedFarm, open_page: OpenPage, pair: list[str]
) -> None:
    page = gallery(stocked, open_page)
    page.press(Keys.HOME, Keys.ENTER)
    page.until(lambda: page.find_all("#viewer[open] #viewer-use"), "the picture did not open")
    page.press("3")
    page.until(lambda: len(page.find_all(".star[aria-pressed='true']")) == 3, "three stars are not shown")
    page.until(lambda: stocked.image(pair[0])["rating"] == 3, "it was not rated")
    page.push("Vary", "#viewer")
    assert page.toast() == "Four variations are rendered."
    page.until(lambda: newest(stocked, 1)[0]["id"] != pair[0], "no variation was rendered")
    page.until(
        lambda: len({row["job_id"] for row in newest(stocked, 4)}) == 1 and pair[0] not in str(newest(stocked, 4)),
        "there are no four variations",
    )
    seen = {row["id"] for row in newest(stocked, 5)}
    page.push("Run again", "#viewer")
    page.until(lambda: "rendered again" in page.toast(), "the run was not reported")
    page.until(lambda: newest(stocked, 1)[0]["id"] not in seen, "it was not run again")
    again, first = stocked.image(str(newest(stocked, 1)[0]["id"])), stocked.image(pair[0])
    assert (again["seed"], again["input"]["prompt"]) == (first["seed"], first["input"]["prompt"])


def test_new_pictures_are_in_the_gallery_when_the_viewer_closes(stocked: StockedFarm, open_page: OpenPage) -> None:
    stocked.render("before the visit")
    page = gallery(stocked, open_page)
    job = stocked.submit("during the visit", num_inference_steps=1)
    page.view("create", job)
    page.wait_state("succeeded")
    page.click("#details")
    page.until(lambda: page.find_all("#viewer[open]"), "the picture did not open")
    page.click("#viewer-close")
    page.until(lambda: page.find_all(".cell[aria-posinset='1'][aria-label='during the visit']"), "it is not in the grid")


def test_a_deletion_is_carried_out_when_the_page_is_left(stocked: StockedFarm, open_page: OpenPage, pair: list[str]) -> None:
    page = gallery(stocked, open_page)
    page.press(Keys.HOME, Keys.DELETE)
    page.until(lambda: page.find_all(".toast .link"), "nothing offers to undo")
    assert stocked.image_status(pair[0]) == httpx.codes.OK, "it is kept while it can be undone"
    page.driver.get("about:blank")
    page.until(lambda: stocked.image_status(pair[0]) != httpx.codes.OK, "it was not deleted")
    assert stocked.image_status(pair[1]) == httpx.codes.OK
