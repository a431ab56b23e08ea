"""Accept images and masks for image-to-image: decode and re-encode them, so that only pixels are kept."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

from api.caller import Caller
from api.farm import Farm
from api.threads import in_thread
from core.errors import Gone, InvalidInput, NotFound
from core.ids import is_id, new_id
from core.imagefile import open_with_alpha
from core.imagefile.masks import open_mask, white_share
from core.parameters import InitImage, MaskImage
from core.parameters.normalise import Origin
from core.parameters.parameters import Parent
from core.schemas.jobs import RenderFields
from core.storage import ImageStore, image_key
from db.images import get_image
from db.jobs.read import get_job
from db.tables import Image, Upload
from db.uploads import NewUpload, add_upload, check_quota, get_upload


async def store_upload(farm: Farm, caller: Caller, data: bytes, field: str = "body") -> Upload:
    """Store an image; raise InvalidInput for `field` when the data is not an image or too large."""
    async with farm.decoding:  # a decoded image is large: two at a time bound the memory
        try:
            return await in_thread(_store, farm, caller.owner, data)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=field, code=error.code) from error


def _store(farm: Farm, owner: str, data: bytes) -> Upload:
    image = open_with_alpha(data, max_pixels=farm.settings.max_upload_pixels)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    data, limit = buffer.getvalue(), farm.settings.max_upload_bytes_per_owner
    check_quota(farm.database, owner, len(data), limit)
    upload_id = new_id()
    # The file first: a row never names a file that is not there. Retention deletes a file that is left without a row.
    stored = farm.uploads.put(image_key(upload_id, 0, 0), data)
    new = NewUpload(upload_id, owner, stored.key, image.width, image.height, stored.bytes, stored.sha256)
    try:
        return add_upload(farm.database, new, limit)
    except InvalidInput:
        farm.uploads.delete(stored.key)
        raise


def require_file(farm: Farm, upload: Upload) -> None:
    """Raise Gone when the file of an upload is missing."""
    try:
        farm.uploads.open(upload.key).close()
    except NotFound:
        raise Gone(
            f"The file of upload {upload.id} is missing: send the image to POST /v1/uploads again.", code="upload_gone"
        ) from None


class StartImages(NamedTuple):
    """The images that a job starts from, None for those that it does not name; `origin`: the image that it is made from."""

    init_image: InitImage | None = None
    mask: MaskImage | None = None
    origin: Origin = Origin()


async def find_start_images(farm: Farm, caller: Caller, request: RenderFields) -> StartImages:
    """Look up the uploads that a job names; raise InvalidInput for one that does not exist."""
    if request.mask is None:
        return StartImages() if request.init_image is None else await in_thread(read_start_images, farm, caller, request)
    async with farm.decoding:
        return await in_thread(read_start_images, farm, caller, request)


def read_start_images(farm: Farm, caller: Caller, request: RenderFields) -> StartImages:
    """Look up like `find_start_images`, on the calling thread."""
    image, mask, origin = None, None, Origin()
    if request.init_image is not None:
        if (found_image := _find_image(farm, caller, request.init_image)) is not None:
            image, origin = found_image
        else:
            image = InitImage.model_validate(_fields(find_upload(farm, caller, request.init_image, "init_image")))
    if request.mask is not None:
        fields = _fields(found := find_upload(farm, caller, request.mask, "mask"))
        mask = MaskImage(**fields, white_share=_white_share(farm.uploads, found.key))
    return StartImages(image, mask, origin)


def init_image_of(image: Image) -> InitImage:
    """Return an image of this farm as one that a job starts from."""
    fields = {name: getattr(image, name) for name in ("key", "width", "height", "sha256")}
    return InitImage(image_id=image.id, **fields)


def require_image_file(farm: Farm, image: Image, field: str) -> None:
    """Raise InvalidInput for `field` when the file of an image is missing."""
    try:
        farm.store.open(image.key).close()
    except NotFound:
        raise InvalidInput(
            f"The file of image {image.id} is missing: choose another one.", field=field, code="image_file_missing"
        ) from None


def _find_image(farm: Farm, caller: Caller, image_id: str) -> tuple[InitImage, Origin] | None:
    """Return an image of the caller's that `init_image` names; None when the id is of no image."""
    try:
        if not is_id(image_id):
            return None
        image = get_image(farm.database, image_id, caller.visible_owner)
    except (NotFound, Gone):
        return None
    require_image_file(farm, image, "init_image")
    job = get_job(farm.database, image.job_id)
    return init_image_of(image), Origin(parent=Parent(image=image.id, model=job.model))


def find_upload(farm: Farm, caller: Caller, upload_id: str, field: str) -> Upload:
    """Return an upload of the caller's. Raises InvalidInput `upload_not_found` for `field`."""
    try:
        if not is_id(upload_id):
            raise NotFound("There is no such upload.")
        upload = get_upload(farm.database, upload_id, caller.visible_owner)
        require_file(farm, upload)
    except (NotFound, Gone):
        raise InvalidInput(
            "There is no upload with this id, or it was deleted: send the image to POST /v1/uploads first"
            f"{', or name an image of yours' if field == 'init_image' else ''}.",
            field=field,
            code="upload_not_found",
        ) from None
    return upload


def _fields(upload: Upload) -> dict[str, Any]:
    return {
        "upload_id": upload.id,
        "key": upload.key,
        "width": upload.width,
        "height": upload.height,
        "sha256": upload.sha256,
    }


_MAX_MASK_PIXELS = 2**28
"""Above any IMAGEFARM_MAX_UPLOAD_PIXELS in use: that limit was checked when the mask was uploaded."""


@lru_cache(maxsize=1024)
def _white_share(uploads: ImageStore, key: str) -> float:
    """Measure a mask once: all jobs of a batch may name the same one, and the file of a key never changes."""
    return round(white_share(open_mask(uploads.read(key), max_pixels=_MAX_MASK_PIXELS)), 6)
