"""The scenes' data, the settings that a recipe gives them, and the chart and sheet of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli.bench.scene_renderers import facts_of_row
from core.catalogue import load_catalogue
from core.errors import InvalidInput
from core.scenes import ModelFacts, SceneFigures, SceneReport, load_scenes, plan_scene
from core.scenes.chart import BAND, COLOURS, draw_chart
from core.scenes.report import read_report
from core.scenes.sheet import CAPTION, CELL, GAP, HEAD, draw_sheet

Z_IMAGE_TURBO = facts_of_row(load_catalogue().get("z-image-turbo"))


def report(seconds: float = 10.0, **changes: Any) -> SceneReport:  # noqa: ANN401 -- any field
    figures = [
        SceneFigures(
            id=scene.id,
            title=scene.title,
            prompt=scene.prompt,
            width=512,
            height=512,
            num_inference_steps=8,
            guidance_scale=1.0,
            seed=1,
            load_seconds=3.0,
            seconds_per_image=seconds,
            all_seconds=[seconds],
            peak_memory_gb=None,
            cost_factor=1.0,
        )
        for scene in load_scenes().scenes
    ]
    fields: dict[str, Any] = {
        "model": "demo",
        "recipe": "authors",
        "farm": None,
        "device": "CPU",
        "dtype": "float32",
        "memory_policy": "cpu",
        "versions": {},
        "created_at": datetime.now(UTC),
        "random_weights": True,
        "load_seconds": 3.0,
        "scenes": figures,
    }
    return SceneReport(**{**fields, **changes})


def test_scenes_are_chinese_with_published_ranges_only() -> None:
    book = load_scenes()
    assert [scene.id for scene in book.scenes] == ["anime-girl", "golden-retriever", "mountain-sunrise", "coffee-cup"]
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in scene.prompt) for scene in book.scenes)
    assert book.published.seconds == (12.4, 22.3) and book.published.first_load_seconds == 186
    lowest, highest = book.published.steps
    assert all(lowest <= book.recipes[scene.kind].middle_steps <= highest for scene in book.scenes)


def test_the_document_recipe_takes_midpoints_and_names_their_cost() -> None:
    anime = plan_scene(load_scenes().scenes[0], "document", Z_IMAGE_TURBO)
    assert (anime.num_inference_steps, anime.guidance_scale, anime.notes) == (35, 7.0, ())
    assert anime.cost_factor == 35 * 2 / 8


def test_the_authors_recipe_is_the_models_own_and_costs_one() -> None:
    planned = plan_scene(load_scenes().scenes[0], "authors", Z_IMAGE_TURBO)
    assert (planned.num_inference_steps, planned.guidance_scale, planned.cost_factor) == (8, 1.0, 1.0)


def test_values_above_a_models_limits_are_cut_and_noted() -> None:
    small = ModelFacts("small", 4, 1.0, max_steps=20, max_guidance_scale=2.0, guidance=False)
    planned = plan_scene(load_scenes().scenes[0], "document", small)
    assert (planned.num_inference_steps, planned.guidance_scale, planned.cost_factor) == (20, 2.0, 5.0)
    assert len(planned.notes) == 2 and "35 steps cut to 20" in planned.notes[0]


def pixels_of(data: bytes, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    image = Image.open(BytesIO(data))
    assert image.format == "PNG"
    width, pixels = image.width, image.get_flattened_data()
    return [(index % width, index // width) for index, pixel in enumerate(pixels) if pixel == colour]


def test_a_longer_time_is_a_longer_bar_beside_the_published_band() -> None:
    data = draw_chart([report(10.0), report(20.0, model="other")])
    first, second = (max(x for x, _ in pixels_of(data, colour)) for colour in COLOURS[:2])
    left = 332
    assert (second - left) / (first - left) == pytest.approx(2.0, abs=0.02)
    assert pixels_of(data, BAND)


def test_unknown_figures_are_drawn_without_a_bar() -> None:
    blank = report(load_seconds=None)
    for scene in blank.scenes:
        scene.seconds_per_image = 0.0
    assert draw_chart([blank])


@pytest.mark.parametrize("has_chinese_font", [True, False])
def test_the_sheet_holds_every_image(has_chinese_font: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_chinese_font:
        monkeypatch.setattr("core.scenes.sheet.chinese_font", lambda size: None)
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    images = []
    for colour in colours:
        buffer = BytesIO()
        Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
        images.append(buffer.getvalue())
    sheet = Image.open(BytesIO(draw_sheet(report(), images)))
    centres = [
        (GAP + column * (CELL + GAP) + CELL // 2, HEAD + row * (CELL + CAPTION + GAP) + CELL // 2)
        for row in (0, 1)
        for column in (0, 1)
    ]
    assert [sheet.getpixel(centre) for centre in centres] == colours


def test_a_report_survives_its_file_and_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(report().model_dump_json())
    assert read_report(tmp_path / "a.json").scenes == report().scenes
    (tmp_path / "b.json").write_text('{"scenes": []}')
    for name in ("b.json", "missing.json"):
        with pytest.raises(InvalidInput) as caught:
            read_report(tmp_path / name)
        assert caught.value.code == "unreadable_file"
