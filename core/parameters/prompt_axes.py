"""Axes of a batch that change its prompt: A1111's prompt matrix and search-and-replace (S/R)."""

from __future__ import annotations

from collections.abc import Sequence

from core.parameters.parameters import InvalidParameters

MATRIX = "matrix_"
"""Prefix of the axes of a prompt matrix: `matrix_1` is its first optional part."""
PROMPT_SR = "prompt_sr"
MAX_PARTS = 10
_SEPARATORS = " \t,"


def matrix_axes(prompt: str) -> tuple[str, dict[str, list[str]]]:
    """Return the text before the first `|`, and one axis for each part after it: without the part, then with it.

    `|` within braces belongs to a dynamic prompt. Raises InvalidParameters for a prompt without parts or with too many.
    """
    first, *parts = _split(prompt)
    parts = [part for part in (part.strip(_SEPARATORS) for part in parts) if part]
    if not parts:
        raise InvalidParameters([("matrix", "needs a prompt with optional parts, such as: a street | at night | in rain")])
    if len(parts) > MAX_PARTS:
        raise InvalidParameters([("matrix", f"has {len(parts)} optional parts: send at most {MAX_PARTS}.")])
    return first.strip(_SEPARATORS), {f"{MATRIX}{number}": ["", part] for number, part in enumerate(parts, 1)}


def _split(prompt: str) -> list[str]:
    found, start, depth = [], 0, 0
    for index, character in enumerate(prompt):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "|" and depth <= 0:
            found.append(prompt[start:index])
            start = index + 1
    return [*found, prompt[start:]]


def with_parts(prompt: str, parts: Sequence[str]) -> str:
    """Return a prompt with the chosen parts of its matrix appended."""
    return ", ".join(part for part in (prompt, *parts) if part)


def check_length(field: str, length: int, most: int) -> None:
    """Raise InvalidParameters for a prompt that has more than `most` characters, or would have them."""
    if length > most:
        raise InvalidParameters([(field, f"has {length} characters: send at most {most}.")])


def check_search(search: str, texts: Sequence[str]) -> None:
    """Raise InvalidParameters when the first value of `prompt_sr`, which is searched for, is in none of a job's texts."""
    if not search:
        raise InvalidParameters([(f"axes.{PROMPT_SR}", "begins with an empty text: the first value is searched for.")])
    if not any(search in text for text in texts):
        raise InvalidParameters(
            [
                (
                    f"axes.{PROMPT_SR}",
                    f"begins with '{search}', which is not in the prompt '{texts[0][:200]}': the first value is searched "
                    "for, and replaced by each of the values.",
                )
            ]
        )
