"""Taking in pictures for image-to-image: decoded and written anew, so that nothing but pixels is kept."""

from __future__ import annotations

from io import BytesIO

from api.caller import Caller
from api.farm import Farm
from api.threads import in_thread
from core.errors import InvalidInput, NotFound
from core.ids import is_id, new_id
from core.imagefile import open_rgb
from core.parameters import InitImage
from core.storage import image_key
from db.tables import Upload
from db.uploads import NewUpload, add_upload, get_upload


async def store_upload(farm: Farm, caller: Caller, data: bytes, field: str = "body") -> Upload:
    """The stored upload. Raises InvalidInput when it is not a picture, or too large."""
    async with farm.decoding:  # a decoded picture is large: two at a time bound the memory
        try:
            return await in_thread(_store, farm, caller.owner, data)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=field, code=error.code) from error


def _store(farm: Farm, owner: str, data: bytes) -> Upload:
    image = open_rgb(data, max_pixels=farm.settings.max_upload_pixels)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    upload_id = new_id()
    stored = farm.uploads.put(image_key(upload_id, 0, 0), buffer.getvalue())
    new = NewUpload(upload_id, owner, stored.key, image.width, image.height, stored.bytes, stored.sha256)
    return add_upload(farm.database, new)


async def find_init_image(farm: Farm, caller: Caller, upload_id: str | None) -> InitImage | None:
    """What a job's `init_image` names; InvalidInput when there is no such upload."""
    if upload_id is None:
        return None
    try:
        if not is_id(upload_id):
            raise NotFound("There is no such upload.")
        upload = await in_thread(get_upload, farm.database, upload_id, caller.visible_owner)
    except NotFound:
        raise InvalidInput(
            "There is no upload of that id: send the picture to POST /v1/uploads first.",
            field="init_image",
            code="upload_not_found",
        ) from None
    return InitImage(upload_id=upload.id, key=upload.key, width=upload.width, height=upload.height, sha256=upload.sha256)
