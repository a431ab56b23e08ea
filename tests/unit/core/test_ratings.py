"""Mean ratings by axis value, and their CSV."""

from __future__ import annotations

from core.ratings import ratings_by_axis, ratings_csv


def test_each_value_of_each_axis_has_its_mean() -> None:
    images = [
        ({"recipe": "anime", "seed": 1}, 5),
        ({"recipe": "anime", "seed": 2}, 4),
        ({"recipe": "photo", "seed": 1}, None),
        ({"recipe": "photo", "seed": 2}, 1),
    ]
    found = [(row.axis, row.value, row.images, row.rated, row.mean_rating) for row in ratings_by_axis(images)]
    assert found == [
        ("recipe", "anime", 2, 2, 4.5),
        ("recipe", "photo", 2, 1, 1.0),
        ("seed", 1, 2, 1, 5.0),
        ("seed", 2, 2, 2, 2.5),
    ]
    assert ratings_by_axis([({"job": 0}, 5)]) == []


def test_the_csv_holds_no_formula() -> None:
    rows = ratings_by_axis([({"prompt": "=1+1", "loras": [{"name": "ink", "scale": 1.0}], "seed": -1}, None)])
    assert ratings_csv(rows).splitlines() == [
        "axis,value,images,rated,mean_rating",
        "prompt,'=1+1,1,0,",
        "loras,LoRA ink:1,1,0,",
        "seed,-1,1,0,",
    ]
