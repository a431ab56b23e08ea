"""Language and theme: chosen, kept, and complete on every view."""

from __future__ import annotations

from tests.e2e.browser.page import Page
from tests.e2e.browser.studio import go


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
