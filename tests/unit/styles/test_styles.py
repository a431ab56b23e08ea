"""Styles: A1111's rules, limits, and the files of A1111 and Fooocus."""

from __future__ import annotations

import json

import pytest

from core.errors import InvalidInput
from core.styles import BUILT_IN, Style, apply_styles
from core.styles.files import StyleFormat, read_styles, write_styles
from core.styles.styles import choose_styles

INK = Style("ink", "ink drawing of {prompt}, black", "colour")
FILM = Style("film", "35mm film", "")


def test_a_text_with_the_place_takes_the_prompt_in_and_others_are_appended() -> None:
    assert apply_styles("a cat", "blurry", [INK], 1000) == ("ink drawing of a cat, black", "blurry, colour")
    assert apply_styles("a cat ", "", [FILM, INK], 1000) == ("ink drawing of a cat, 35mm film, black", "colour")
    assert apply_styles("a cat", "", [INK, FILM], 1000) == ("ink drawing of a cat, black, 35mm film", "colour")
    assert apply_styles("", "", [Style("n", "", "text")], 1000) == ("", "text")
    assert apply_styles("{prompt}", "", [FILM], 1000)[0] == "{prompt}, 35mm film", "the caller's own text is kept"


def test_a_style_that_multiplies_the_prompt_is_refused_before_it_is_built() -> None:
    many = Style("many", "{prompt}" * 1000)
    with pytest.raises(InvalidInput, match="'many' the prompt has 10000000 characters") as caught:
        apply_styles("x" * 10_000, "", [many, many], 10_000)
    assert caught.value.code == "prompt_too_long"


def test_the_first_style_of_a_name_wins_and_an_unknown_name_is_refused() -> None:
    own = Style("ink", "mine")
    assert choose_styles(["film", "ink"], [own, INK, FILM]) == [FILM, own]
    with pytest.raises(InvalidInput, match=r"no style 'inc'.*film, ink") as caught:
        choose_styles(["inc"], [INK, FILM])
    assert (caught.value.field, caught.value.code) == ("styles", "unknown_style")


def test_the_built_in_negative_template_has_a_text() -> None:
    (style,) = BUILT_IN
    assert style.name == "standard-negative"
    assert "blurry" in style.negative_prompt and not style.prompt


CSV = (
    "\ufeffname,prompt,negative_prompt\n--- heading ---,,\n"
    'ink,"ink drawing of {prompt}, black","colour\nphoto"\n"quoted ""name""",film,\n'
)


def test_a1111s_file_is_read_with_quotes_line_breaks_and_headings() -> None:
    assert read_styles(CSV, "a1111") == [
        Style("ink", "ink drawing of {prompt}, black", "colour\nphoto"),
        Style('quoted "name"', "film", ""),
    ]
    assert read_styles("name,text\nold,words\n", "a1111") == [Style("old", "words")]


def test_fooocus_file_is_read() -> None:
    text = json.dumps([{"name": "sai-anime", "prompt": "anime {prompt}", "negative_prompt": "photo"}, {"name": "x"}])
    assert read_styles(text, "fooocus") == [Style("sai-anime", "anime {prompt}", "photo")]


@pytest.mark.parametrize("format", ["a1111", "fooocus"])
def test_an_exported_file_is_read_to_the_same_styles(format: StyleFormat) -> None:
    styles = [INK, FILM, Style('水墨, "x"', "一\n二", "三")]
    assert read_styles(write_styles(styles, format), format) == styles


@pytest.mark.parametrize(
    ("text", "format", "message"),
    [
        ("", "a1111", "first line must name the columns"),
        ("prompt\nx\n", "a1111", "first line must name the columns"),
        ("name,prompt\n", "a1111", "has no styles"),
        ("name,prompt\nx,a,b\n", "a1111", "line 2 has more cells"),
        ('name,prompt\nx,"a\n', "a1111", "is not CSV"),
        ("name,prompt\n,a\n", "a1111", "line 2 has no name"),
        ("name,prompt\nx,a\x00\n", "a1111", "NUL|not CSV"),
        (f"name,prompt\n{'n' * 101},a\n", "a1111", "name of line 2 has 101 characters"),
        ("{", "fooocus", "it is not JSON"),
        ("[" * 100_000, "fooocus", "it is not JSON"),
        ("{}", "fooocus", "not a list of objects"),
        ('[{"name": 1, "prompt": "x"}]', "fooocus", "name of entry 1 is not a text"),
        ('[{"name": "\\ud800", "prompt": "x"}]', "fooocus", "surrogate"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_place(text: str, format: StyleFormat, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        read_styles(text, format)
    assert caught.value.code == "styles_invalid"
