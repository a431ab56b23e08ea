"""Files as graphs name them: models and parts, uploads, and the farm's own images."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from api.caller import Caller
from api.farm import Farm
from api.overview import Overview
from api.threads import in_thread
from api.upscales import upscalers_of
from core.catalogue.loras import LoraFile
from core.comfyui import ModelFiles
from core.errors import Gone, InvalidInput, NotFound
from db.comfyui import inputs_of
from db.images import get_image
from db.jobs.read import get_job
from db.tables import Image, Job, Upload

FRESH_SECONDS = 1.0
MAX_NAME = 200
MAX_PREFIX = 80
_IMAGE_ID = re.compile(r"_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_\.png$")
_ANNOTATED = re.compile(r"^(.*?)(?: ?\[(input|output|temp)\])?$", re.DOTALL)
_UNWANTED = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\ud800-\udfff]')


@dataclass(frozen=True)
class KnownFiles:
    """The files that graphs may name now, and the LoRA files that their names stand for."""

    models: ModelFiles
    loras: Sequence[LoraFile]


class FileLists:
    """Caches the files that graphs may name for one second: listing them reads several folders."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._latest: tuple[float, KnownFiles] | None = None

    async def get(self) -> KnownFiles:
        """Return the files that graphs may name now."""
        if self._latest is not None and time.monotonic() - self._latest[0] < FRESH_SECONDS:
            return self._latest[1]
        return await self._farm.single_flight.join("comfyui files", self._read)

    async def _read(self) -> KnownFiles:
        found = await in_thread(_known_files, self._farm, await self._farm.overview.get())
        self._latest = time.monotonic(), found
        return found


def _known_files(farm: Farm, overview: Overview) -> KnownFiles:
    loras = farm.loras.files()
    upscalers, workers = upscalers_of(farm, overview)
    usable = [row for row in upscalers if workers[row.id] or row.is_installed]
    models = ModelFiles(farm.catalogue, lambda model: farm.model_selector.refusal(model, overview) is None, loras, usable)
    return KnownFiles(models, loras)


@dataclass(frozen=True)
class LoadedImage:
    """An image that a graph loads: an upload, or an image of this farm with the job that made it."""

    upload: Upload | None = None
    image: Image | None = None
    job: Job | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        found = self.upload or self.image
        assert found is not None  # noqa: S101 -- one of both is set
        return found.width, found.height


async def loaded_images(farm: Farm, caller: Caller, names: Collection[str]) -> dict[str, LoadedImage]:
    """Return name -> image, for those names that mean one of the caller's."""
    return await in_thread(_loaded_images, farm, caller, names) if names else {}


def _loaded_images(farm: Farm, caller: Caller, names: Collection[str]) -> dict[str, LoadedImage]:
    found: dict[str, LoadedImage] = {}
    uploads: dict[str, str] = {}
    for name in names:
        base, kind = annotated(name)
        if kind != "input":
            try:
                image = get_image(farm.database, image_id_in(base), caller.visible_owner)
                found[name] = LoadedImage(image=image, job=get_job(farm.database, image.job_id))
            except (NotFound, Gone):
                continue
        else:
            uploads[name] = base
    known = inputs_of(farm.database, caller.owner, list(uploads.values()))
    return found | {name: LoadedImage(known[base]) for name, base in uploads.items() if base in known}


def annotated(name: str) -> tuple[str, str]:
    """Return a name without ComfyUI's `[output]` after it, and the kind of folder that it names; `input` without one."""
    match = _ANNOTATED.match(name[: 2 * MAX_NAME])
    assert match is not None  # noqa: S101 -- it matches any text
    return match[1].replace("\\", "/"), match[2] or "input"


def image_id_in(name: str) -> str:
    """Return the id in the name of an output. Raises NotFound for any other name."""
    match = _IMAGE_ID.search(name)
    if match is None:
        raise NotFound("There is no image of this name.", code="image_not_found")
    return match[1]


def output_image(prefix: str, image_id: str, *, is_temporary: bool) -> Mapping[str, str]:
    """Return ComfyUI's name of an image: `subfolder` and `filename` come from the prefix and mean nothing here."""
    parts = [part for part in (_clean(each) for each in prefix.replace("\\", "/").split("/")) if part not in ("", ".", "..")]
    stem = parts[-1] if parts else "ComfyUI"
    return {
        "filename": f"{stem[:MAX_PREFIX]}_{image_id}_.png",
        "subfolder": "/".join(parts[:-1])[:MAX_PREFIX],
        "type": "temp" if is_temporary else "output",
    }


def _clean(text: str) -> str:
    return _UNWANTED.sub("_", text).strip()


def input_name(filename: str, subfolder: str) -> tuple[str, str]:
    """Return (file name, subfolder) of an upload as they are kept. Raises InvalidInput for names that cannot be."""
    parts = [part.strip() for part in subfolder.replace("\\", "/").split("/") if part.strip() not in ("", ".")]
    name = filename.replace("\\", "/").rsplit("/", 1)[-1].strip()
    whole = "/".join([*parts, name])
    if not name or ".." in parts or len(whole) > MAX_NAME or _UNWANTED.search(whole):
        raise InvalidInput(
            f"The file's name cannot be used: send up to {MAX_NAME} characters without control characters and "
            'any of < > : " | ? *.',
            field="image",
        )
    return name, "/".join(parts)
