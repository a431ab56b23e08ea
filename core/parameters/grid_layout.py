"""Lay the images of a batch out as rows and columns by its axes, with labels in words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.parameters.prompt_axes import MATRIX, PROMPT_SR

Axes = Mapping[str, Any]
IMAGE = "image"
"""The axis of the images of one job; its values count from 0. In a batch of upscales: the id of the enlarged image."""


@dataclass(frozen=True)
class GridLayout:
    """Labels of the columns and rows, and `places`: position of each item -> (row, column)."""

    columns: list[str]
    rows: list[str]
    places: list[tuple[int, int]]


def lay_out(items: Sequence[Axes]) -> GridLayout | None:
    """Return the layout of items by their values on the axes, of which the last ones become columns.

    None when there is nothing to label: different items have different axes, or all have the same values.
    """
    names = list(items[0]) if items else []
    if any(list(item) != names for item in items) or "job" in names:
        return None
    values = {name: _distinct([item[name] for item in items]) for name in names}
    varied = [name for name in names if len(values[name]) > 1]
    if not varied:
        return None
    cut = len(varied) - max(len(varied) // 2, 1)
    rows, row_of = _side(varied[:cut], values)
    columns, column_of = _side(varied[cut:], values)
    places = [(row_of(item), column_of(item)) for item in items]
    return GridLayout(columns, rows, places) if len(set(places)) == len(places) else None


def label(name: str, value: Any) -> str:  # noqa: ANN401 -- a value of any axis
    """Return an axis value in words, such as `8 steps`, `recipe anime` or `LoRA ink:0.8`."""
    if name in ("prompt", PROMPT_SR, "size"):
        return str(value)
    if name.startswith(MATRIX):
        return f"+ {value}"
    if name == IMAGE and isinstance(value, int):
        return f"image {value + 1}"
    if name == "num_inference_steps":
        return f"{value} steps"
    if isinstance(value, list):
        word = "LoRA" if name == "loras" else "style"
        shown = " + ".join(each if isinstance(each, str) else f"{each['name']}:{each['scale']:g}" for each in value)
        return f"{word} {shown}" if shown else f"no {word}"
    words = {"guidance_scale": "guidance", "negative_prompt": "negative:", "start_sigma": "start sigma"}
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{words.get(name, name)} {text or 'none'}"


def caption(axes: Axes) -> str:
    """Return all values of an item in one line."""
    shown = [label(name, value) for name, value in axes.items() if not (name.startswith(MATRIX) and not value)]
    return ", ".join(shown)


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({_key(value): value for value in values}.values())


def _key(value: Any) -> str:  # noqa: ANN401 -- a value of any axis
    return json.dumps(value, sort_keys=True)


def _side(names: Sequence[str], values: Mapping[str, Sequence[Any]]) -> tuple[list[str], Callable[[Axes], int]]:
    """Return the labels of every combination of these axes, and the position of an item among them."""
    positions = {name: {_key(value): number for number, value in enumerate(values[name])} for name in names}

    def position(item: Axes) -> int:
        found = 0
        for name in names:
            found = found * len(values[name]) + positions[name][_key(item[name])]
        return found

    labels = []
    for number in range(math.prod(len(values[name]) for name in names)):
        shown, left = [], number
        for name in reversed(names):
            left, index = divmod(left, len(values[name]))
            value = values[name][index]
            if not (name.startswith(MATRIX) and not value):
                shown.append(label(name, value))
        labels.append("\n".join(reversed(shown)) or ("without" if names else ""))
    return labels, position
