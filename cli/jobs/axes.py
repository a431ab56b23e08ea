"""Render every combination of axes for `imagefarm batch --prompt`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.exit_codes import ExitCode
from cli.jobs.output import note, print_json
from cli.options import open_farm
from core.errors import InvalidInput
from core.lifecycle import JobStatus
from core.parameters import InvalidParameters
from core.parameters.loras import parse_lora
from core.schemas.batches import Axes, Batch, BatchRequest

if TYPE_CHECKING:
    from imagefarm import ImageFarm

RETRY_SECONDS = 600.0


class AxesRun:
    """A batch from the command line's texts. Raises InvalidInput for those that cannot be read."""

    def __init__(self, prompts: list[str], axes: list[str], fields: list[str], name: str | None, *, matrix: bool) -> None:
        from pydantic import ValidationError

        from imagefarm.job_requests import problems_of

        named = dict(_axis(text) for text in axes)
        given: dict[str, Any] = {"prompts": prompts, "matrix": matrix, "seeds": named.pop("seed", [])}
        given |= {"axes": named, "base": dict(map(_field, fields))} | ({"name": name} if name else {})
        try:
            self.request = BatchRequest.model_validate(given)
        except ValidationError as error:
            raise InvalidParameters(problems_of(error, BatchRequest)) from error

    def run(self, url: str | None, save: Path | None, sheet: Path | None, *, by_day: bool, as_json: bool) -> int:
        """Submit the batch, wait for its end, and write what is wanted; return the exit code."""
        kind = _kind(sheet)
        with open_farm(url, RETRY_SECONDS) as farm:
            batch = farm.batches.submit(self.request)
            note(f"Batch {batch.id} has {batch.total} jobs.")
            try:
                batch = farm.batches.wait(batch, on_progress=None)
            except KeyboardInterrupt:
                note(f"The batch continues on the farm; GET /v1/batches/{batch.id} shows it.")
                raise
            if sheet is not None:
                _write(sheet, farm.batches.contact_sheet(batch, format=kind))
            files = _saved(farm, batch, save, by_day=by_day) if save is not None else []
        done = batch.counts.get(JobStatus.SUCCEEDED, 0)
        if as_json:
            print_json(batch, files=[str(path) for path in files])
        else:
            typer.echo(f"{done} of {batch.total} jobs succeeded{f'; sheet: {sheet}' if sheet else ''}")
        return ExitCode.OK if done == batch.total else ExitCode.FAILED


def _axis(text: str) -> tuple[str, list[Any]]:
    name, separator, values = text.partition("=")
    name = {"steps": "num_inference_steps", "cfg": "guidance_scale", "lora": "loras", "style": "styles"}.get(name, name)
    if not separator or not values.strip():
        raise InvalidInput(f"--axis '{text}' has no values: write it as recipe=anime,photo.")
    if name not in {"seed", *Axes.model_fields}:
        raise InvalidInput(f"--axis '{name}' is not an axis; the axes are: seed, {', '.join(Axes.model_fields)}.")
    try:
        (cells,) = csv.reader([values], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise InvalidInput(f"--axis '{text}' cannot be read: {error}.") from error
    if name == "loras":
        return name, [[parse_lora(part) for part in _parts(cell)] for cell in cells]
    return name, [list(_parts(cell)) for cell in cells] if name == "styles" else list(cells)


def _parts(cell: str) -> Iterable[str]:
    return (part.strip() for part in cell.split("+")) if cell.strip() not in ("", "none") else ()


def _field(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InvalidInput(f"--set '{text}' has no value: write it as size=512x512.")
    if name == "loras":
        return name, [parse_lora(part) for part in _parts(value)]
    return name, list(_parts(value)) if name == "styles" else value


def _kind(sheet: Path | None) -> Any:  # noqa: ANN401 -- one of the formats, checked here
    kind = sheet.suffix.lower().removeprefix(".") if sheet is not None else "png"
    if kind not in ("png", "webp"):
        raise InvalidInput(f"The sheet '{sheet}' must end in .png or .webp.")
    return kind


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"Could not write '{path}': {error.strerror or error}.", code="unwritable_file") from error


def _saved(farm: ImageFarm, batch: Batch, save: Path, *, by_day: bool) -> list[Path]:
    from imagefarm.image_folder import ImageFolder

    folder = ImageFolder(save, by_day=by_day)
    jobs = [item.job_id for item in batch.jobs if item.status is JobStatus.SUCCEEDED]
    return [saved.path for job in jobs for saved in farm.save(job, folder)]
