"""`imagefarm refine`: render an image again at a larger size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import JOBS_PANEL, AsJson, Url, open_farm
from core.ids import is_id
from core.refine_mode import RefineMode


def _image_id(value: str) -> str:
    if not is_id(value):
        raise typer.BadParameter(f"'{value}' is no id of an image: take one that `imagefarm job` shows.")
    return value


ImageId = Annotated[
    str, typer.Argument(metavar="IMAGE", help="Id of the image, as `imagefarm job` shows it.", callback=_image_id)
]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(refine)


def refine(
    image_id: ImageId,
    mode: Annotated[
        RefineMode,
        typer.Option(
            help="hires enlarges the image and renders over it; coherent renders from noise that follows the image's; "
            "same_seed renders a new composition."
        ),
    ] = RefineMode.HIRES,
    width: Annotated[
        int | None, typer.Option(help="Width in pixels.", show_default="twice the image's, or the model's limit")
    ] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels.", show_default="in proportion")] = None,
    upscaler: Annotated[str | None, typer.Option(help="Of hires: what enlarges the image.", show_default="lanczos")] = None,
    start_sigma: Annotated[
        float | None, typer.Option(help="Of hires with Z-Image: the noise level to start at.", show_default="0.5")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Of hires: 0 keeps the image, 1 ignores it.", show_default="0.4")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default="from the image's")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first image; -1 draws one.", show_default="the image's")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="Number of images, each with the next seed.")] = 1,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end, with a progress bar.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Wait at most this many seconds; the job continues on the farm.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Wait, then save the images into this folder.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Render an image of yours again at a larger size, with its prompt, model and LoRAs.

    Prints the job's id; with --save the paths of the saved files; with --json the job.

    Examples:

    - `imagefarm refine 0199c0de-0000-7000-8000-000000000001 --save out/`

    - `imagefarm refine 0199c0de-0000-7000-8000-000000000001 --mode coherent --width 1024 --height 1024`
    """
    from cli.jobs.submit import accepted, wait_and_save

    given: dict[str, Any] = {
        "width": width,
        "height": height,
        "upscaler": upscaler,
        "start_sigma": start_sigma,
        "strength": strength,
        "num_inference_steps": steps,
        "seed": seed,
        "num_images": number,
    }
    with open_farm(url) as farm:
        job = farm.refine(image_id, mode, **{name: value for name, value in given.items() if value is not None})
        if wait or save is not None or timeout is not None:
            return wait_and_save(farm, job, timeout, save, as_json=as_json)
        return accepted(job, as_json=as_json)
