"""`imagefarm batch`: run a job file, each row rendered once, or render every combination of axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagefarm import ImageFarm
    from imagefarm.job_file import JobFileState, Row


IN_FLIGHT = 32
RETRY_SECONDS = 600.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(batch)


def batch(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON Lines, or CSV if it ends in .csv.", metavar="FILE", show_default=False),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="In place of FILE: a prompt; repeat it for several.", metavar="TEXT")
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(help="With --prompt: values to combine, such as `recipe=anime,photo`.", metavar="NAME=VALUE,..."),
    ] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="With --prompt: combine the parts of `a street | at night | in rain`.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="With --prompt: a field of all jobs.", metavar="NAME=VALUE")
    ] = None,
    name: Annotated[str | None, typer.Option(help="With --prompt: title of the batch.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="With --prompt: write a labelled sheet, .png or .webp.", metavar="FILE")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Save the images into this folder.", metavar="DIR")] = None,
    by_day: Annotated[bool, typer.Option("--by-day", help="Save into a subfolder per day.")] = False,
    in_flight: Annotated[int, typer.Option(min=1, max=512, help="Rows that are on the farm at the same time.")] = IN_FLIGHT,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Retry rows that failed in earlier runs.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Ignore earlier runs and render every row again.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Render every row of a job file, with a progress bar, or with --prompt every combination of axes.

    A row holds the fields of a job: `{"prompt": "a cat", "size": "512x512", "seed": 7}` in JSON Lines (a string is a
    prompt); in CSV the first line names them (`prompt,width,height,seed`; a column `metadata.key` becomes metadata). All
    rows are validated before the first is submitted.

    Ctrl-C stops the command; submitted jobs continue on the farm. Run the same command to resume: no row is rendered
    twice, even after a crash, because `FILE.state` next to the file records the job of each row. You may add or move rows
    meanwhile; a changed row is a new one. Exit code 1 when a row failed.

    With --prompt, the prompts, the axes and the parts of --matrix are one batch of the farm. Axes are `seed`, `model`,
    `preset`, `recipe`, `size`, `num_inference_steps`, `guidance_scale`, `strength`, `start_sigma`, `negative_prompt`,
    `variation_seed`, `variation_strength`, `prompt_sr`, `loras` and `styles`; a value of the last two is a list such as
    `ink:0.8+gold`, or `none`. Put a value that holds a comma between double quotes.

    Examples:

    - `imagefarm batch jobs.jsonl --save out/`

    - `imagefarm batch --prompt "a red fox" --axis prompt_sr=red,blue --axis recipe=authors,anime --sheet foxes.png`

    - `imagefarm batch jobs.csv --save out/ --retry-failed`

    - `imagefarm batch jobs.jsonl --json | jq -r 'select(.status != "succeeded").line'`
    """
    from core.errors import InvalidInput
    from imagefarm.job_file import JobFileState, read_rows, state_path

    if prompt:
        from cli.jobs.axes import AxesRun

        if file is not None:
            raise InvalidInput("FILE and --prompt are alternatives: give one of them.")
        wanted = AxesRun(prompt, axis or [], set_ or [], name, matrix=matrix)
        return wanted.run(url, save, sheet, by_day=by_day, as_json=as_json)
    if axis or matrix or set_ or name or sheet:
        raise InvalidInput("--axis, --matrix, --set, --name and --sheet need --prompt.")
    if file is None:
        raise InvalidInput("Name a job file, or give --prompt.")
    rows = read_rows(file)
    with (
        open_farm(url, RETRY_SECONDS) as farm,
        JobFileState(state_path(file), farm.url, afresh=again) as state,
    ):
        if retry_failed:
            _forget_failed(rows, state)
        return _run(farm, rows, state, save, in_flight, by_day=by_day, as_json=as_json)


def _forget_failed(rows: Sequence[Row], state: JobFileState) -> None:
    from core.lifecycle import JobStatus

    for row in rows:
        if state.of(row.identity).status not in (None, JobStatus.SUCCEEDED):
            state.again(row.identity)


def _run(
    farm: ImageFarm,
    rows: Sequence[Row],
    state: JobFileState,
    save: Path | None,
    in_flight: int,
    *,
    by_day: bool,
    as_json: bool,
) -> int:
    from cli.jobs.job_file_progress import JobFileProgress
    from cli.jobs.output import note
    from imagefarm.image_folder import ImageFolder
    from imagefarm.job_file import JobFileRun

    folder = ImageFolder(save, by_day=by_day) if save is not None else None
    with JobFileProgress(len(rows), print_rows=as_json) as bar:
        run = JobFileRun(farm, rows, state, folder=folder, in_flight=in_flight, on_report=bar.ended, on_submit=bar.submitted)
        try:
            run.run()
        except KeyboardInterrupt:
            note(f"Stopped after {bar.tally.done} of {len(rows)} rows; {bar.tally.open} continue on the farm.")
            note("Run the same command to resume.")
            raise
    if not as_json:
        typer.echo(bar.tally.summary(len(rows), save))
    if bar.tally.failed_before:
        note(f"{bar.tally.failed_before} rows failed in earlier runs; retry them with --retry-failed.")
    return ExitCode.FAILED if bar.tally.failed or bar.tally.failed_before else ExitCode.OK
