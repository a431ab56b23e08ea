"""Values that the farm refuses, as the page shows them."""

from __future__ import annotations

from benchmarks.faults.parts import FarmParts
from tests.e2e.browser.conftest import OpenPage


def test_an_empty_prompt_shows_an_error(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    page.click("#submit")
    assert page.find("#prompt-error").text == "Describe the image."
    assert page.script("return document.activeElement.id") == "prompt"
    assert page.state == "empty"


def test_the_api_error_is_shown_next_to_its_field(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    page.more()
    page.write("#width", "777")
    page.write("#seed", "many")
    page.write("#prompt", "a wrong size")
    page.click("#submit")
    page.until(lambda: page.shows("#width-error") or page.shows("#seed-error"), "no error")
    page.write("#seed", "")
    page.click("#submit")
    page.until(lambda: "768 or 784" in page.text("#width-error"), "the field's error did not show")
    assert page.attribute("#width", "aria-invalid") == "true"
    assert page.script("return document.activeElement.id") == "width"
    page.write("#width", "768")
    page.click("#submit")
    page.wait_state("succeeded")
    assert not page.find("#width-error").is_displayed()


def test_an_error_in_the_closed_section_opens_it(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    page.more()
    page.write("#steps", "100000")
    page.click("#more summary")
    page.write("#prompt", "too many steps")
    page.click("#submit")
    page.until(lambda: page.shows("#steps-error"), "the section did not open")
    assert "takes 1 to 100" in page.find("#steps-error").text


def test_an_error_whose_field_is_hidden_is_shown_above_the_button(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)  # a farm without LoRAs, whose form has no place for them
    page.write("#prompt", "a fox <lora:nope:0.8>")
    page.click("#submit")
    page.until(lambda: page.shows("#form-error"), "the refusal is not visible")
    assert "There is no LoRA 'nope' here" in page.find("#form-error").text
