"""Accept images for image-to-image: decode and re-encode them, so that only pixels are kept."""

from __future__ import annotations

from io import BytesIO

from api.caller import Caller
from api.farm import Farm
from api.threads import in_thread
from core.errors import Gone, InvalidInput, NotFound
from core.ids import is_id, new_id
from core.imagefile import open_with_alpha
from core.parameters import InitImage
from core.storage import image_key
from db.tables import Upload
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


async def find_init_image(farm: Farm, caller: Caller, upload_id: str | None) -> InitImage | None:
    """Look up the upload that a job's `init_image` names; raise InvalidInput when there is none."""
    return None if upload_id is None else await in_thread(read_init_image, farm, caller, upload_id)


def read_init_image(farm: Farm, caller: Caller, upload_id: str | None) -> InitImage | None:
    """Look up like `find_init_image`, on the calling thread."""
    if upload_id is None:
        return None
    try:
        if not is_id(upload_id):
            raise NotFound("There is no such upload.")
        upload = get_upload(farm.database, upload_id, caller.visible_owner)
        require_file(farm, upload)
    except (NotFound, Gone):
        raise InvalidInput(
            "There is no upload with this id, or it was deleted: send the image to POST /v1/uploads first.",
            field="init_image",
            code="upload_not_found",
        ) from None
    return InitImage(upload_id=upload.id, key=upload.key, width=upload.width, height=upload.height, sha256=upload.sha256)
