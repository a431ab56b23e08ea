"""Mean ratings of a batch's images by the values of its axes, and their CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from core.csv_text import cell_text
from core.parameters.grid_layout import label


@dataclass(frozen=True)
class AxisRating:
    """Images that have one value of an axis, those of them that are rated, and their mean of 1 to 5; None without any."""

    axis: str
    value: Any
    label: str
    images: int
    rated: int
    mean_rating: float | None


def ratings_by_axis(images: Iterable[tuple[Mapping[str, Any], int | None]]) -> list[AxisRating]:
    """Return one row for each value of each axis, in the order of the batch, from (axes, rating) of every image."""
    found: dict[str, dict[str, tuple[Any, list[int | None]]]] = {}
    for axes, rating in images:
        for axis, value in axes.items():
            key = json.dumps(value, sort_keys=True)
            found.setdefault(axis, {}).setdefault(key, (value, []))[1].append(rating)
    return [
        _row(axis, value, ratings) for axis, values in found.items() if axis != "job" for value, ratings in values.values()
    ]


def _row(axis: str, value: Any, ratings: list[int | None]) -> AxisRating:  # noqa: ANN401 -- a value of any axis
    given = [rating for rating in ratings if rating is not None]
    text = "without" if value == "" and axis.startswith("matrix_") else label(axis, value)
    mean = round(sum(given) / len(given), 3) if given else None
    return AxisRating(axis, value, text, len(ratings), len(given), mean)


def ratings_csv(rows: Iterable[AxisRating]) -> str:
    """Return the rows as CSV with a line of names; a text that a spreadsheet would compute begins with an apostrophe."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["axis", "value", "images", "rated", "mean_rating"])
    for row in rows:
        mean = "" if row.mean_rating is None else f"{row.mean_rating:g}"
        writer.writerow([row.axis, _plain(row), row.images, row.rated, mean])
    return file.getvalue()


def _plain(row: AxisRating) -> str:
    """Return a number, a text, or for a list or object its label, such as `none` for no styles."""
    if isinstance(row.value, int | float):
        return str(row.value)
    return cell_text(row.value if isinstance(row.value, str) else row.label)
