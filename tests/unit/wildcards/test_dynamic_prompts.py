"""Dynamic prompts: choices by seed, wildcards within wildcards, limits, refusals."""

from __future__ import annotations

import pytest
from dynamicprompts.commands import Command
from dynamicprompts.parser.parse import parse

from api import dynamic_prompts
from api.dynamic_prompts import MAX_PARTS, DynamicPrompts
from core.errors import InvalidInput
from core.wildcards import Wildcard

COLORS = ("red", "green", "blue")
KNOWN = {
    "color": Wildcard("color", COLORS),
    "animal": Wildcard("animal", ("{big|small} __color__ fox", "__color__ cat")),
}


def expand(text: str, seed: int = 7) -> str:
    dynamic = DynamicPrompts(KNOWN, 10_000)
    dynamic.check(text)
    return dynamic.expand(seed, text)[0]


def test_the_same_seed_gives_the_same_text_and_others_vary() -> None:
    text = "a {red|blue} __animal__, {2$$ and $$sun|rain|snow}, ${x={a|b}} ${x} <lora:ink:0.5>"
    assert expand(text) == expand(text)
    found = {expand(text, seed) for seed in range(30)}
    assert len(found) > 10
    assert all(" and " in each and "<lora:ink:0.5>" in each and "__" not in each and "{" not in each for each in found)
    assert {expand("__color__", seed) for seed in range(30)} == set(COLORS)
    assert {expand("__col*__", seed) for seed in range(30)} == set(COLORS)


def test_choices_among_a_lone_wildcards_values_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the wildcard's name is a choice, too."""
    text = "{2$$__color__} ${n={color|animal}}{2$$__${n}__} {1$$__${n}__}"
    found = [expand(text, seed) for seed in range(20)]
    monkeypatch.delattr(dynamic_prompts._CountingSampler, "_get_variant")
    assert found == [expand(text, seed) for seed in range(20)]


def test_weights_and_plain_texts_are_kept() -> None:
    assert expand("a cat (masterpiece:1.2), [x]") == "a cat (masterpiece:1.2), [x]"
    assert sum(expand("{9::a|1::b}", seed) == "a" for seed in range(100)) > 70
    assert expand("") == ""
    assert expand("一只{红|红}猫") == "一只红猫"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("a {b", "invalid_template", "character 3, before '{b'"),
        ("50%", "invalid_template", "character 3, before '%'"),
        ("__no__", "unknown_wildcard", "'no'"),
        ("${x=no}__${x}__", "unknown_wildcard", "'no'"),
        ("${y}", "invalid_template", "y is not defined"),
        ("${x=${x}}${x}", "invalid_template|expansion_too_large", ""),
        ("{a|b}" * 101, "invalid_template", "more than 200"),
        ("{" * 9 + "a" + "}" * 9, "invalid_template", "braces within braces"),
        ("".join(f"${{v{n + 1}=${{v{n}:x}}${{v{n}:x}}}}" for n in range(20)) + "${v20}", "expansion_too_large", ""),
    ],
)
def test_a_wrong_text_is_refused_with_what_to_do(text: str, code: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        expand(text)
    assert caught.value.code in code.split("|")
    assert message in caught.value.message


def test_an_expansion_is_bounded_in_parts_and_length() -> None:
    chain = {f"w{n}": Wildcard(f"w{n}", (f"__w{n + 1}__ __w{n + 1}__",)) for n in range(20)}
    with pytest.raises(InvalidInput) as caught:
        DynamicPrompts({**chain, "w20": Wildcard("w20", ("x",))}, 10_000).expand(1, "__w0__")
    assert caught.value.code == "expansion_too_large"
    long = Wildcard("long", ("x" * 1000,))
    with pytest.raises(InvalidInput) as caught:
        DynamicPrompts({"long": long}, 1500).expand(1, "__long__ __long__")
    assert caught.value.code == "expansion_too_large"
    assert MAX_PARTS < 10_000


def test_many_choices_among_many_values_are_refused_at_once() -> None:
    many = DynamicPrompts({"many": Wildcard("many", tuple(map(str, range(20_000))))}, 10_000)
    assert len(many.expand(1, "{3$$__many__}")[0].split(",")) == 3
    with pytest.raises(InvalidInput) as caught:
        many.expand(1, "{20000$$__many__}")
    assert caught.value.code == "expansion_too_large"


def test_values_of_a_wildcard_are_collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(name: str, known: dict[str, Wildcard]) -> list[Wildcard]:
        asked.append(name)
        return [known[name]]

    monkeypatch.setattr("api.dynamic_prompts.matching", counted)
    DynamicPrompts({"a": Wildcard("a", ("x", "y"))}, 100).expand(1, "__a__ __a__", "__a__")
    assert asked == ["a"]


def test_values_of_a_wildcard_are_parsed_once_for_many_expansions(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def counted(text: str, *args: object, **kwargs: object) -> Command:
        parsed.append(text)
        return parse(text)

    for module in ("api.dynamic_prompts", "dynamicprompts.parser.parse", "dynamicprompts.samplers.utils"):
        monkeypatch.setattr(f"{module}.parse", counted)
    known = {"a": Wildcard("a", ("{once|1}", "{once|2}")), "b": Wildcard("b", ("{once|3}", "{once|4}", "{once|5}"))}
    dynamic = DynamicPrompts(known, 100)
    found = {dynamic.expand(seed, "__a__ {2$$__b__}")[0] for seed in range(100)}
    assert len(found) > 10
    assert sorted(each for each in parsed if "once" in each) == [f"{{once|{n}}}" for n in range(1, 6)]


def test_the_expansions_of_a_call_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.dynamic_prompts.MAX_PARTS_OF_CALL", 1000)
    dynamic = DynamicPrompts(KNOWN, 10_000)
    with pytest.raises(InvalidInput) as caught:
        for seed in range(1000):
            dynamic.expand(seed, "__animal__")
    assert caught.value.code == "expansion_too_large"
    assert DynamicPrompts(KNOWN, 10_000).expand(1, "__animal__")
