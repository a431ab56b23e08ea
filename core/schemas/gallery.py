"""Schemas of the gallery and of collections of images."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from core.lifecycle import JobKind
from core.schemas.base import RequestBody, ResponseBody, Text

MAX_CHANGE = 1000


class GalleryImage(ResponseBody):
    """An image as a grid shows it; GET /v1/images/{image_id} has the rest."""

    id: str
    job_id: str
    width: int
    height: int
    seed: int
    rating: int | None
    created_at: datetime
    owner: str
    model: str
    kind: JobKind
    prompt: str = Field(description="Its first 300 characters.")


class Gallery(ResponseBody):
    """GET /v1/images: images from position `offset`, newest first."""

    items: list[GalleryImage]
    offset: int
    total: int | None = Field(description="How many images match, at most 200,000; null unless `count` was sent.")
    anchor: str | None = Field(description="Send it with the next call: positions then stay while images are added.")


def _name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("must be printable, not empty, and without blanks around it")
    return text


CollectionName = Annotated[Text, Field(max_length=100), AfterValidator(_name)]


class CollectionRequest(RequestBody):
    """POST /v1/collections."""

    name: CollectionName


class CollectionChange(RequestBody):
    """PATCH /v1/collections/{collection_id}: all of it, or nothing when an image does not exist."""

    name: CollectionName | None = None
    add: list[Text] = Field(default_factory=list, max_length=MAX_CHANGE, description="Ids of images.")
    remove: list[Text] = Field(default_factory=list, max_length=MAX_CHANGE, description="Ids of images.")


class Collection(ResponseBody):
    """A named set of your images. `cover`: the image to show for it."""

    id: str
    name: str
    images: int
    cover: str | None
    created_at: datetime


class CollectionList(ResponseBody):
    """GET /v1/collections, by name."""

    items: list[Collection]
