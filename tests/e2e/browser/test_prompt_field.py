"""The prompt and what stands around it: completion, history, styles, variants, a link to the form, a sound at the end."""

from __future__ import annotations

import httpx
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page
from tests.e2e.browser.stocked import StockedFarm


def prompt(page: Page) -> str:
    return page.attribute("#prompt", "value") or ""


def type_prompt(page: Page, text: str) -> None:
    page.script("const field = document.querySelector('#prompt'); field.value = ''; field.focus()")
    page.press(text)


def small(page: Page) -> None:
    page.more()
    for field, value in (("#width", 64), ("#height", 64), ("#steps", 1)):
        page.write(field, str(value))


def test_wildcards_are_completed_and_each_picture_draws_its_own(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked)
    small(page)
    type_prompt(page, "a __")
    page.until(lambda: len(page.find_all("#completion li")) == 2, "no completions")
    assert page.find("#completion li").text.split("\n") == ["color", "red, blue, dark green"]
    assert page.attribute("#prompt", "aria-activedescendant") == "completion-0"
    page.press(Keys.ARROW_DOWN)
    assert page.find("#completion li[aria-selected='true']").text.startswith("weather")
    page.press(Keys.ARROW_UP, Keys.TAB)
    assert prompt(page) == "a __color__"
    assert not page.find("#completion").is_displayed()
    assert page.find("#dynamic-row").is_displayed(), "nothing says that the wildcard is expanded"
    page.press(" fox ", Keys.NULL, "<lora:i")
    page.until(lambda: [row.text for row in page.find_all("#completion li")] == ["ink"], "no completion of LoRAs")
    page.press(Keys.ESCAPE)
    assert not page.find("#completion").is_displayed()
    job = page.render("a __color__ fox")
    page.wait_state("succeeded")
    assert stocked.job(job)["input"]["prompt"] in {"a red fox", "a blue fox", "a dark green fox"}


def test_earlier_prompts_come_back_by_key_and_by_menu(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked)
    small(page)
    page.click("#history")
    assert page.toast() == "No earlier prompts yet."
    for text in ("the first of two", "the second of two"):
        page.render(text)
    type_prompt(page, "unfinished")
    recall = ActionChains(page.driver).key_down(Keys.ALT).send_keys(Keys.ARROW_UP, Keys.ARROW_UP).key_up(Keys.ALT)
    recall.perform()
    assert prompt(page) == "the first of two"
    ActionChains(page.driver).key_down(Keys.ALT).send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN).key_up(Keys.ALT).perform()
    assert prompt(page) == "unfinished", "what was being typed is lost"
    page.driver.refresh()
    page.until(lambda: page.attribute("#model", "value"), "the models were not read")
    page.click("#history")
    assert [row.text for row in page.find_all(".menu button")] == ["the second of two", "the first of two"]
    page.press(Keys.ARROW_DOWN, Keys.ENTER)
    assert prompt(page) == "the first of two"


def test_styles_are_saved_chosen_as_chips_and_kept(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked)
    small(page)
    page.write("#prompt", "{prompt}, ink on rice paper")
    page.click("#style-add")
    page.push("Save the prompt as a style", "dialog[open]")
    page.write("#asked", "ink painting")
    page.press(Keys.ENTER)
    assert page.toast() == "Saved the style ink painting."
    page.click("#style-add")
    page.find("dialog[open] input[type='search']").send_keys("ink")
    row = page.until(lambda: page.find("dialog[open] .style-row"), "the style is not offered")
    row.click()
    assert row.get_attribute("aria-pressed") == "true"
    page.push("Done", "dialog[open]")
    page.write("#prompt", "a heron")
    page.driver.refresh()
    page.until(lambda: page.attribute("#model", "value"), "the models were not read")
    assert [chip.text for chip in page.find_all("#styles .chip:not(.add)")] == ["ink painting"], "the chip was lost"
    job = page.render("a heron")
    page.wait_state("succeeded")
    assert stocked.job(job)["input"]["prompt"] == "a heron, ink on rice paper"
    page.click("#styles .chip button")
    assert not page.find_all("#styles .chip:not(.add)")
    job = page.render("a plain heron")
    page.wait_state("succeeded")
    assert stocked.job(job)["input"]["prompt"] == "a plain heron"


def test_at_most_four_variants_of_a_setting_are_rendered(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked)
    small(page)
    choose = (
        "const box = document.querySelector('#variant-setting'); box.value = 'num_inference_steps';"
        "box.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    page.script(choose)
    page.write("#variant-values", "1, 2, 3, 4, 5")
    assert page.find("#variant-values ~ .hint").text == "Only the first 4 are rendered, without 5."
    assert "A/B" in page.find("#more-summary").text
    page.render("four ways")
    page.until(lambda: len(page.find_all("#siblings .variant img")) == 4, "no four variants")
    batch = httpx.get(f"{stocked.url}/v1/batches", params={"limit": 1}).json()["items"][0]
    made = httpx.get(f"{stocked.url}/v1/batches/{batch['id']}").json()["jobs"]
    assert sorted(item["axes"]["num_inference_steps"] for item in made) == [1, 2, 3, 4]
    assert len({item["outputs"][0]["seed"] for item in made}) == 1


def test_a_copied_link_fills_the_form_of_another_browser(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked)
    small(page)
    settings = {"#prompt": "晨雾 & a boat?", "#seed": "31", "#steps": "7", "#negative": "people, #text", "#count": "2"}
    for field, value in settings.items():
        page.write(field, value)
    page.script("navigator.clipboard.writeText = async (text) => { window.written = text; }")
    page.click("#share")
    assert page.toast() == "Copied a link that fills the form."
    link = page.script("return window.written")
    page.forget()
    page.driver.get(link)
    page.until(lambda: prompt(page) == settings["#prompt"], "the link did not fill the form")
    filled = {field: page.attribute(field, "value") for field in settings}
    assert filled == settings
    assert page.find("#size-now").text == "64 × 64"


def test_a_sound_is_played_only_once_it_was_asked_for(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked, view="settings")
    page.script(
        "window.sounds = 0; window.AudioContext = class { constructor() { window.sounds += 1; throw Error('mute'); } }"
    )
    play = """
        const done = arguments[0];
        import('/js/notices.js').then(({ createNotices }) => {
          let ended = null, tell = null;
          const job = (status, seconds) => [{ id: String(seconds), status, timings: { total_seconds: seconds }, input: {} }];
          createNotices({ all: () => ended, subscribe: (listener) => { tell = listener; } });
          for (const seconds of [1, 20]) {
            ended = job('running', seconds);
            tell();
            ended = job('succeeded', seconds);
            try { tell(); tell(); } catch { /* the silent context */ }
          }
          done(window.sounds);
        });
    """
    assert page.driver.execute_async_script(play) == 0
    page.script("document.querySelector('#set-sound').click()")
    page.until(lambda: page.script("return window.sounds") == 1, "the setting does not let one hear the sound")
    assert page.driver.execute_async_script(play) == 2, "only the long job is heard, once"
