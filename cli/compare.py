"""`imagefarm compare`: two images side by side, in figures and in settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import JOBS_PANEL, AsJson, Url, open_farm

if TYPE_CHECKING:
    from core.imagefile.compare import Comparison


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=JOBS_PANEL)(compare)


def compare(
    first: Annotated[str, typer.Argument(help="A file, or the id of an image.", metavar="A")],
    second: Annotated[str, typer.Argument(help="A file, or the id of an image.", metavar="B")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write both and their difference to this PNG.", metavar="FILE")
    ] = None,
    min_ssim: Annotated[
        float | None, typer.Option("--min-ssim", min=-1, max=1, help="Exit with code 1 when SSIM is lower, or has no value.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> int:
    """Compare two images: PSNR, SSIM, and the settings in which they differ.

    SSIM (Wang et al. 2004) is computed on the luma with windows of 7x7 pixels, as scikit-image does by default. Images of
    different sizes have no figures. Settings are read from the files, those of A1111 included.

    Examples:

    - `imagefarm compare before.png after.png -o compared.png`

    - `imagefarm compare IMAGE_ID reference.png --min-ssim 0.98`
    """
    from core.imagefile.compare import compare as compare_files
    from core.imagefile.compare import side_by_side

    a, b = _data(first, url), _data(second, url)
    found = compare_files(a, b)
    if output is not None:
        _write(output, side_by_side(a, b, found, (Path(first).name, Path(second).name)))
    _print(found, as_json=as_json)
    if min_ssim is None:
        return ExitCode.OK
    return ExitCode.OK if found.figures is not None and found.figures.ssim >= min_ssim else ExitCode.FAILED


def _data(name: str, url: str | None) -> bytes:
    from core.errors import InvalidInput
    from core.ids import is_id
    from imagefarm.job_requests import media_type, read_image_file

    path = Path(name)
    if not path.exists() and is_id(name):
        with open_farm(url) as farm:
            return farm.content(name)
    if not path.exists():
        raise InvalidInput(f"'{name}' is neither a file nor the id of an image.", code="unreadable_file")
    data = read_image_file(path)
    media_type(data, path)
    return data


def _write(output: Path, data: bytes) -> None:
    from core.errors import InvalidInput

    try:
        output.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"Could not write '{output}': {error.strerror or error}.", code="unwritable_file") from error


def _print(found: Comparison, *, as_json: bool) -> None:
    from core.imagefile.compare import shown

    if as_json:
        figures = asdict(found.figures) if found.figures is not None else None
        settings = [asdict(each) for each in found.differences]
        typer.echo(json.dumps({"sizes": found.sizes, "figures": figures, "differences": settings}, ensure_ascii=False))
        return
    typer.echo(found.summary)
    for each in found.differences:
        typer.echo(f"{each.field}: {shown(each.first)} | {shown(each.second)}")
