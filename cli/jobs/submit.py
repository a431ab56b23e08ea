"""`imagefarm submit`: submit one job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm

if TYPE_CHECKING:
    from core.schemas.jobs import Job
    from imagefarm import ImageFarm


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(submit)


def submit(
    prompt: Annotated[str, typer.Argument(help="What the image shows, in English or Chinese.")],
    negative: Annotated[
        str | None, typer.Option("--negative", help="What the image must not show; has an effect only with --cfg above 1.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model that the farm serves.", show_default="the farm's default")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Preset with values for options that you omit; GET /v1/presets lists them.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Recipe with steps and guidance: anime, photo, art, concept, or authors for the model's own."),
    ] = None,
    size: Annotated[str | None, typer.Option(help="Size in pixels: `512` or `768x512`.", show_default="the model's")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default="the model's")] = None,
    cfg: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 turns guidance off.", show_default="the model's")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first image; -1 draws a random one.")] = -1,
    variation_seed: Annotated[
        int | None, typer.Option(help="Seed whose noise is mixed into the seed's; -1 draws one.", show_default="drawn")
    ] = None,
    variation_strength: Annotated[
        float | None, typer.Option(help="How much of it is mixed in: 0 is nothing, 1 is its own image.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="Number of images, each with the next seed.")] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Render alone, so that the same seed gives identical bits.")
    ] = False,
    init: Annotated[
        Path | None, typer.Option(help="Image-to-image: the PNG, JPEG or WebP file to start from.", metavar="FILE")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Inpainting: the file whose white areas of --init are repainted; black ones are kept.", metavar="FILE"
        ),
    ] = None,
    mask_feather: Annotated[
        int | None, typer.Option(help="Inpainting: pixels outside the white areas over which the new image fades out.")
    ] = None,
    strength: Annotated[float | None, typer.Option(help="Image-to-image: 0 keeps the file's image, 1 ignores it.")] = None,
    start_sigma: Annotated[
        float | None, typer.Option(help="Image-to-image with Z-Image, instead of --strength: the noise level to start at.")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(help="A LoRA that `imagefarm loras list` shows; repeat it for several.", metavar="NAME[:SCALE]"),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(help="A style that `imagefarm styles list` shows; repeat it for several.", metavar="NAME"),
    ] = None,
    dynamic: Annotated[
        bool,
        typer.Option("--dynamic", help="Expand `{red|blue}` and wildcards such as `__color__` by the seed."),
    ] = False,
    priority: Annotated[int | None, typer.Option(help="0 to 9; 9 is the most urgent.", show_default="5")] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds after which the job expires if it has not started.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end, with a progress bar.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Wait at most this many seconds; the job continues on the farm.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Wait, then save the images into this folder.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Submit a job that renders images.

    Prints the job's id; with --save the paths of the saved files; with --json the job. Everything else goes to
    standard error. Without --wait it returns as soon as the farm has stored the job.

    Examples:

    - `imagefarm submit "a red fox asleep in snow"`

    - `imagefarm submit "a cat" --size 512 --seed 7 --wait --save out/`

    - `imagefarm submit "一只猫" --model z-image --cfg 4 --negative "blurry" -n 4 --save out/ --json`
    """
    from core.parameters.loras import parse_lora
    from imagefarm.job_requests import request_from

    given: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": negative,
        "model": model,
        "preset": preset,
        "recipe": recipe,
        "size": _size(size),
        "num_inference_steps": steps,
        "guidance_scale": cfg,
        "seed": seed,
        "variation_seed": variation_seed,
        "variation_strength": variation_strength,
        "num_images": number,
        "strict": strict or None,
        "mask_feather": mask_feather,
        "strength": strength,
        "start_sigma": start_sigma,
        "loras": [parse_lora(text) for text in lora] if lora else None,
        "styles": style,
        "dynamic": dynamic or None,
        "priority": priority,
        "deadline_seconds": deadline,
    }
    with open_farm(url) as farm:
        for field, file in (("init_image", init), ("mask", mask)):
            given[field] = farm.upload(file).id if file is not None else None
        job = farm.submit(request_from({name: value for name, value in given.items() if value is not None}))
        if wait or save is not None or timeout is not None:
            return wait_and_save(farm, job, timeout, save, as_json=as_json)
        return accepted(job, as_json=as_json)


def _size(size: str | None) -> str | None:
    """Return a plain number `512` as the square `512x512`."""
    return f"{size}x{size}" if size is not None and size.strip().isdigit() else size


def accepted(job: Job, *, as_json: bool) -> int:
    """Print an accepted job; return the exit code."""
    from cli.jobs.output import note, print_json, print_notes

    print_notes(job)
    print_json(job) if as_json else typer.echo(job.id)
    note(f"Accepted. `imagefarm job {job.id}` shows its progress.")
    return ExitCode.OK


def wait_and_save(farm: ImageFarm, job: Job, timeout: float | None, save: Path | None, *, as_json: bool) -> int:
    """Follow a job to its end, save its images and print them; return the exit code."""
    from cli.jobs.output import note, print_json, print_notes, print_outcome
    from imagefarm.progress import JobBar

    print_notes(job)
    try:
        with JobBar() as bar:
            job = farm.wait(job, timeout_seconds=timeout, on_progress=bar.show)
    except KeyboardInterrupt:
        note(f"The job continues on the farm; `imagefarm cancel {job.id}` stops it.")
        raise
    files = farm.download(job, save) if save is not None else []
    result: dict[str, Any] = {"files": [str(path) for path in files]} if save is not None else {}
    if as_json:
        print_json(job, **result)
    else:
        for line in result.get("files") or [job.id]:
            typer.echo(line)
    return print_outcome(job, files)
