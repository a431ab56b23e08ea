"""Accessibility: names of controls, contrast, widths, number formats."""

from __future__ import annotations

from benchmarks.faults.parts import FarmParts
from tests.e2e.browser.chromium import resize, use_scheme
from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page

MIN_CONTRAST = 4.5
WIDTHS = (320, 390, 768, 1150, 1360, 1800)

# Contrast of every visible text with its background (WCAG 2), for solid colours.
_CONTRASTS = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = numbers(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join('');
  if (!text || !element.checkVisibility() || element.closest('.unseen, .card, option')) continue;
  const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
  found.push([Math.round((a + 0.05) / (b + 0.05) * 100) / 100, text.slice(0, 40)]);
}
return found;
"""


def test_every_text_has_enough_contrast(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    page.more()
    page.write("#steps", "16")
    page.render("an image with a warning")
    page.wait_state("succeeded")
    page.until(lambda: page.shows("#notes"), "no warning was shown")
    page.write("#prompt", "")
    page.click("#submit")
    for dark in (False, True):
        use_scheme(page.driver, dark=dark)
        background = page.script("return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(19, 20, 18)") is dark
        measured = page.script(_CONTRASTS)
        assert len(measured) > 30
        assert [row for row in measured if row[0] < MIN_CONTRAST] == []


def test_nothing_is_cut_off_at_any_width(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm, size=(WIDTHS[0], 844))
    page.more()
    page.render("w" * 300)
    page.wait_state("succeeded")
    page.image_size()
    for width in WIDTHS:
        resize(page.driver, (width, 844))
        assert_nothing_is_cut_off(page, width)


def assert_nothing_is_cut_off(page: Page, width: int) -> None:
    assert page.script("return document.documentElement.scrollWidth") <= width
    for part in ("#banner", "#compose", "#stage", "#picture", "#cards"):
        box = page.find(part).rect
        assert box["x"] >= 12, part
        assert box["x"] + box["width"] <= width - 12, part


def test_every_control_has_a_name(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    page.more()
    page.render("for a screen reader")
    page.wait_state("succeeded")
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "link", "textbox", "combobox", "radio", "spinbutton", "image", "progressbar"}
    controls = [node for node in tree if not node["ignored"] and node["role"]["value"] in roles]
    assert len(controls) > 20
    unnamed = [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")]
    assert unnamed == []


def test_formats_of_numbers_and_sizes(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    assert page.module("js/format.js", "[1, 2, 3, 4, 11, 12, 13, 21, 101, 111].map(m.ordinal)") == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "101st", "111th")
    ]
    assert page.module("js/format.js", "[0.0004, 0.4, 5, 45, 179.7, 3599, 7260].map(m.seconds)") == [
        *("1 ms", "400 ms", "5.0 s", "45 s", "3 min 0 s", "59 min 59 s", "2 h 1 min")
    ]
    limits = "{min_side: 64, max_side: 1024, multiple: 16, max_pixels: 800000}"
    assert page.module("js/sizes.js", f"m.basesFor({{limits: {limits}}})") == [512, 768]
    shapes = f"m.RATIOS.map((ratio) => Object.values(m.sizeFor(768, ratio, {limits})).join('x'))"
    assert page.module("js/sizes.js", shapes) == [
        *("768x768", "896x640", "640x896", "960x640", "640x960", "1024x576", "576x1024")
    ]
