"""`imagefarm bench scenes`: render four scenes and report seconds, memory and cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exit_codes import ExitCode
from cli.options import Url

if TYPE_CHECKING:
    from cli.bench.scene_renderers import SceneRenderer
    from core.imagefile import ImageMetadata
    from core.scenes import PlannedScene, RecipeName, SceneFigures, SceneReport

RECIPES = ("document", "authors")
Recipe = Annotated[
    str,
    typer.Option(
        help="`document`: the published ranges by content type, at their midpoints. `authors`: the model's own defaults.",
        metavar="document|authors",
    ),
]


def register(group: typer.Typer) -> None:
    group.command()(scenes)


def scenes(
    model: Annotated[
        str | None, typer.Option(help="The model to measure.", show_default="the farm's or the settings' default")
    ] = None,
    recipe: Recipe = "document",
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Render each scene so often; the median counts.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.", metavar="FILE")] = None,
    chart: Annotated[Path | None, typer.Option(help="Write a chart of the figures as PNG.", metavar="FILE")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write the rendered scenes as one PNG.", metavar="FILE")] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="Show the figures of another run's JSON beside these; repeat it for several.", metavar="FILE"),
    ] = None,
    url: Url = None,
) -> int:
    """Render four scenes: anime girl, golden retriever, mountain sunrise, coffee cup.

    Shows load seconds, seconds per image, peak memory and cost against the recipe of the model's authors, beside the
    published ranges. Uses a farm if one answers, else loads the model in this command.

    Examples:

    - `imagefarm bench scenes --model demo --json demo.json --chart demo.png --sheet demo-sheet.png`

    - `imagefarm bench scenes --recipe authors --compare demo.json --chart both.png`
    """
    from cli.bench.scene_renderers import open_renderer
    from core.scenes.chart import draw_chart
    from core.scenes.report import read_report
    from core.scenes.sheet import draw_sheet

    chosen = _recipe(recipe)
    others = [read_report(path) for path in compare or []]
    for path in (json_file, chart, sheet):
        _check_writable(path)
    with open_renderer(url, model) as renderer:
        report, images = _run(renderer, chosen, repeat)
    _show(report, others)
    if json_file is not None:
        _write(json_file, report.model_dump_json(indent=2).encode())
    if chart is not None:
        _write(chart, draw_chart([report, *others]))
    if sheet is not None:
        _write(sheet, draw_sheet(report, images))
    return ExitCode.OK


def _recipe(name: str) -> RecipeName:
    from core.errors import InvalidInput

    for known in RECIPES:
        if name == known:
            return known  # type: ignore[return-value]
    raise InvalidInput(f"'{name}' is not a recipe of the scenes: use {' or '.join(RECIPES)}.", field="recipe")


def _check_writable(path: Path | None) -> None:
    """Raise InvalidInput before minutes of rendering rather than after them."""
    from core.errors import InvalidInput

    if path is not None and not path.absolute().parent.is_dir():
        raise InvalidInput(f"There is no folder '{path.absolute().parent}' to write {path.name} into.", code="no_folder")


def _write(path: Path, data: bytes) -> None:
    from cli.jobs.output import note
    from core.errors import FarmError

    try:
        path.write_bytes(data)
    except OSError as error:
        raise FarmError(f"Could not write '{path}': {error.strerror or error}.", code="export_failed") from error
    note(f"wrote {path}")


def _run(renderer: SceneRenderer, recipe: RecipeName, repeat: int) -> tuple[SceneReport, list[bytes]]:
    """Render all scenes; return the figures and one image for each scene."""
    from cli.jobs.output import note
    from core.scenes import SceneReport, load_scenes, plan_scene

    figures: list[SceneFigures] = []
    images: list[bytes] = []
    written: ImageMetadata | None = None
    for scene in load_scenes().scenes:
        planned = plan_scene(scene, recipe, renderer.model)
        note(f"{scene.title}: {planned.num_inference_steps} steps, guidance {planned.guidance_scale:g}")
        measured, image, written = _measure(renderer, planned, repeat)
        figures.append(measured)
        images.append(image)
    return SceneReport(recipe=recipe, farm=renderer.farm, scenes=figures, **_machine(written, figures)), images


def _measure(renderer: SceneRenderer, planned: PlannedScene, repeat: int) -> tuple[SceneFigures, bytes, ImageMetadata]:
    from core.errors import FarmError
    from core.imagefile import read_metadata
    from core.scenes import SceneFigures
    from imagefarm.job_requests import request_from

    scene = planned.scene
    fields: dict[str, Any] = {
        "prompt": scene.prompt,
        "width": scene.width,
        "height": scene.height,
        "num_inference_steps": planned.num_inference_steps,
        "guidance_scale": planned.guidance_scale,
        "seed": scene.seed,
    }
    request = request_from({**fields, "model": renderer.model.id})
    rendered = [renderer.render(request) for _ in range(repeat)]
    written = read_metadata(rendered[-1].image).imagefarm
    if written is None or written.record is None:
        raise FarmError("The image has no imagefarm metadata: the farm is of another version.", code="not_a_farm")
    peak = written.record.peak_memory
    loads = [each.load_seconds for each in rendered if each.load_seconds is not None]
    taken = [round(each.seconds, 4) for each in rendered]
    figures = SceneFigures(
        id=scene.id,
        title=scene.title,
        load_seconds=loads[-1] if loads else None,
        seconds_per_image=round(statistics.median(taken), 4),
        all_seconds=taken,
        peak_memory_gb=peak.get("device", peak.get("host")),
        peak_memory=peak,
        cost_factor=round(planned.cost_factor, 3),
        notes=[*planned.notes, *rendered[-1].warnings],
        **fields,
    )
    return figures, rendered[-1].image, written


def _machine(written: ImageMetadata | None, figures: Sequence[SceneFigures]) -> dict[str, Any]:
    """Return the report's fields about model and machine, from the last image's own metadata."""
    if written is None or written.record is None:
        raise TypeError("there is no scene")
    record = written.record
    return {
        "model": written.model,
        "device": record.device,
        "dtype": record.dtype,
        "memory_policy": record.memory_policy,
        "versions": record.versions,
        "created_at": datetime.now(UTC),
        "random_weights": written.random_weights,
        "load_seconds": next((each.load_seconds for each in figures if each.load_seconds is not None), None),
    }


def _show(report: SceneReport, others: Sequence[SceneReport]) -> None:
    from rich.console import Console
    from rich.table import Table

    published = report.published
    console = Console()
    for run in (report, *others):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("scene", "steps", "guidance", "load s", "s per image", "peak GB", "cost"):
            table.add_column(heading, justify="left" if heading == "scene" else "right")
        for each in run.scenes:
            table.add_row(
                each.title,
                str(each.num_inference_steps),
                f"{each.guidance_scale:g}",
                _number(each.load_seconds),
                _number(each.seconds_per_image),
                _number(each.peak_memory_gb),
                f"{each.cost_factor:.3g}x",
            )
        table.add_row(
            "published",
            _span(published.steps),
            "",
            f"{published.first_load_seconds:g}",
            _span(published.seconds),
            _span(published.memory_gb),
            "",
        )
        console.print(run.label, highlight=False, style="bold")
        console.print(table)
    typer.echo(
        f"published: {published.hardware}, {published.model}, {published.width}x{published.height}. {published.about}"
    )
    typer.echo("cost: forward passes against the recipe of the model's authors at the same size")
    if report.random_weights:
        typer.echo(
            f"note: {report.model} has random weights: its images are noise, and its figures say nothing about real models"
        )
    for sentence in dict.fromkeys(sentence for each in report.scenes for sentence in each.notes):
        typer.echo(f"note: {sentence}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _span(values: tuple[float, float]) -> str:
    return f"{values[0]:g} to {values[1]:g}"
