"""Expand dynamic prompts (variants, wildcards, variables) by dynamicprompts, with limits on time and length."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from random import Random
from typing import cast

import pyparsing
from dynamicprompts.commands import Command, VariantCommand, VariantOption, WildcardCommand
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.parser.config import default_parser_config
from dynamicprompts.parser.parse import get_cached_parser, parse
from dynamicprompts.samplers import Sampler
from dynamicprompts.samplers.random import RandomSampler
from dynamicprompts.sampling_context import SamplingContext
from dynamicprompts.sampling_result import SamplingResult
from dynamicprompts.types import ResultGen
from dynamicprompts.wildcards import WildcardManager
from dynamicprompts.wildcards.values import WildcardValues

from core.errors import InvalidInput
from core.wildcards import Wildcard, check_references, matching, unknown_wildcard

MAX_SIGNS, MAX_DEPTH = 200, 8
"""Signs of the syntax in a text, each of which takes the parser about 5 ms, and braces within braces."""
MAX_PARTS, MAX_PARTS_OF_CALL = 2000, 500_000
"""Parts that one expansion, and all of a call, may choose or insert: wildcards and variables can multiply."""
MAX_COMPARISONS, MAX_COMPARISONS_OF_CALL = 2_000_000, 50_000_000
"""Values times choices, of one text and of all texts of a call: `{20000$$__name__}` compares every value for each choice."""
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # old names of pyparsing
    get_cached_parser(default_parser_config)
_SIGNS = re.compile(r"[{}$%]|__")


class DynamicPrompts:
    """Expands the texts of one call with a fixed set of wildcards."""

    def __init__(self, wildcards: Mapping[str, Wildcard], max_chars: int) -> None:
        self._wildcards, self._max_chars = wildcards, max_chars
        self._values = _Wildcards(wildcards)
        self._parts, self._comparisons = MAX_PARTS_OF_CALL, MAX_COMPARISONS_OF_CALL

    def check(self, *texts: str) -> None:
        """Raise InvalidInput for texts that cannot be parsed, unknown wildcards, and loops."""
        for text in texts:
            _parsed(text)
            check_references(text, self._wildcards)

    def expand(self, seed: int, *texts: str) -> list[str]:
        """Return the texts with a choice for each variant and wildcard, the same for the same seed. Raises InvalidInput."""
        random = Random(seed)  # noqa: S311 -- choices must be repeatable
        return [self._expanded(text, random) for text in texts]

    def _expanded(self, text: str, random: Random) -> str:
        if not text.strip():
            return text
        sampler = _CountingSampler(self._parts, self._comparisons)
        context = _RandomContext(
            default_sampling_method=SamplingMethod.RANDOM,
            wildcard_manager=self._values,
            samplers={SamplingMethod.RANDOM: sampler},
            rand=random,
        )
        try:
            result = str(next(iter(context.sample_prompts(_parsed(text), 1)), ""))
        except InvalidInput:
            raise
        except RecursionError:
            raise _too_large() from None
        except (KeyError, ValueError, NotImplementedError, RuntimeError, StopIteration) as error:
            raise _invalid(str(error) or type(error).__name__) from None
        except pyparsing.ParseBaseException as error:
            raise _invalid(f"a value of a wildcard has a mistake in {_shown(error.line)}") from None
        self._parts, self._comparisons = self._parts - sampler.parts, self._comparisons - sampler.comparisons
        if len(result) > self._max_chars:
            raise _too_large()
        return result


class _RandomContext(SamplingContext):
    """Chooses at random where the text asks for another method (`{!a|b}`, `{@a|b}`): one text is wanted, not all."""

    def get_sampler_and_context(self, command: Command) -> tuple[Sampler, SamplingContext]:
        return self.default_sampler, self

    def sample_prompts(self, prompt: str | Command, num_prompts: int | None = None) -> Iterable[SamplingResult]:
        """Choose values of wildcards as the base class does, but parse each value once."""
        return super().sample_prompts(_parsed_value(prompt) if prompt and isinstance(prompt, str) else prompt, num_prompts)


class _CountingSampler(RandomSampler):
    """Chooses at random, and ends an expansion that has too many parts."""

    def __init__(self, parts: int, comparisons: int) -> None:
        self.parts, self._most_parts = 0, min(parts, MAX_PARTS)
        self.comparisons, self._most = 0, min(comparisons, MAX_COMPARISONS)

    def generator_from_command(self, command: Command, context: SamplingContext) -> ResultGen:
        self.parts += 1
        if self.parts > self._most_parts:
            raise _too_large()
        return super().generator_from_command(command, context)

    def _get_variant(self, command: VariantCommand, context: SamplingContext) -> ResultGen:
        """Choose among the values of a lone wildcard (`{2$$__name__}`) as the base class does, but parse them once."""
        while len(command.values) == 1 and isinstance(wildcard := command.values[0], WildcardCommand):
            found = next(iter(context.sample_prompts(wildcard.wildcard, 1))).text
            options = cast(_Wildcards, context.wildcard_manager).options(found)
            bounds = (min(command.min_bound, len(options)), min(command.max_bound, len(options)))
            command = VariantCommand(options, *bounds, command.separator, wildcard.sampling_method)
        yield from super()._get_variant(command, context)  # A generator like it: values are chosen in the order of the text.

    def _get_variant_choices(
        self, values: list[Command], weights: list[float], num_choices: int, rand: Random
    ) -> list[Command]:
        self.comparisons += len(values) * (num_choices + 10)
        if self.comparisons > self._most:
            raise _too_large()
        return super()._get_variant_choices(values, weights, num_choices, rand)


class _Wildcards(WildcardManager):
    """Gives the parser the values of the farm's wildcards; never reads a file."""

    def __init__(self, wildcards: Mapping[str, Wildcard]) -> None:
        super().__init__()
        self._known = wildcards
        self._found: dict[str, WildcardValues] = {}
        self._options: dict[str, list[VariantOption]] = {}

    def get_values(self, wildcard: str) -> WildcardValues:
        name = wildcard.strip()
        if name not in self._found:
            if not (found := matching(name, self._known)):
                raise unknown_wildcard(name, self._known)
            self._found[name] = WildcardValues.from_items(dict.fromkeys(value for each in found for value in each.values))
        return self._found[name]

    def options(self, name: str) -> list[VariantOption]:
        """Return the parsed values of a wildcard."""
        if name not in self._options:
            values = self.get_values(name).iterate_string_values_weighted()
            self._options[name] = [VariantOption(_parse(value)) for value in values]
        return self._options[name]


_parsing = threading.Lock()
"""pyparsing finds out at its first calls how many arguments each function takes, and several threads disturb it then."""


def _parse(text: str) -> Command:
    with _parsing:
        return parse(text)


@lru_cache(maxsize=512)
def _parsed(text: str) -> Command:
    """Return the parsed text. Raises InvalidInput `invalid_template`."""
    signs, depth, deepest = _SIGNS.findall(text), 0, 0
    for sign in signs:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        deepest = max(deepest, depth)
    if len(signs) > MAX_SIGNS or deepest > MAX_DEPTH:
        raise _invalid(f"it has more than {MAX_SIGNS} braces and other signs, or more than {MAX_DEPTH} braces within braces")
    try:
        return _parse(text)
    except pyparsing.ParseBaseException as error:
        raise _invalid(f"there is a mistake at character {error.loc + 1}, before {_shown(text[error.loc :])}") from None
    except (ValueError, RecursionError) as error:
        raise _invalid(str(error)) from None


@lru_cache(maxsize=1024)
def _parsed_value(text: str) -> Command:
    """Return the parsed value of a wildcard, which a batch may insert thousands of times."""
    return _parse(text)


def _shown(text: str) -> str:
    return repr(text[:30])


def _invalid(why: str) -> InvalidInput:
    return InvalidInput(
        f"The dynamic prompt cannot be expanded: {why}. Write {{a|b}} for a choice and __name__ for a wildcard, "
        "or leave out `dynamic`.",
        field="prompt",
        code="invalid_template",
    )


def _too_large() -> InvalidInput:
    return InvalidInput(
        "The dynamic prompt expands to too many parts or too long a text: use fewer choices, and fewer wildcards within "
        "wildcards.",
        field="prompt",
        code="expansion_too_large",
    )
