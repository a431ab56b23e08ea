"""Signed links to images, which work without a key for an hour."""

from __future__ import annotations

import hashlib
import hmac
import time

from fastapi import Request

from api.caller import Caller
from api.farm import Farm
from core.errors import Unauthorized

SECONDS = 3600


async def signed_query(farm: Farm, caller: Caller, image_id: str) -> str:
    """Return the query to append to an image's URL; empty while no keys are required."""
    if caller.limits is None or (row := await farm.authenticator.row(caller.limits.key_id)) is None:
        return ""
    expires = int(time.time()) + SECONDS
    return f"&expires={expires}&by={row.id}&signature={_signature(row.secret_hash, image_id, expires)}"


async def is_signed(farm: Farm, request: Request, image_id: str) -> bool:
    """Return whether the request is a valid signed link; raise Unauthorized for an expired or changed one."""
    query = request.query_params
    signature, by, expires = query.get("signature"), query.get("by", ""), query.get("expires", "")
    if signature is None:
        return False
    row = await farm.authenticator.row(by) if by.isalnum() else None
    fresh = expires.isascii() and expires.isdigit() and len(expires) < 12 and int(expires) > time.time()
    if row is None or not fresh or not _same(signature, _signature(row.secret_hash, image_id, int(expires))):
        raise Unauthorized("This link has expired or was changed. Request the image with a key.")
    return True


def _signature(secret_hash: str, image_id: str, expires: int) -> str:
    return hmac.new(secret_hash.encode(), f"{image_id}:{expires}".encode(), hashlib.sha256).hexdigest()


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode())
