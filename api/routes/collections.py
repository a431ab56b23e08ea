"""Collections of images: list, add, change, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, SubmitterDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.errors import InvalidInput, NotFound
from core.ids import is_id
from core.schemas.base import iso
from core.schemas.gallery import Collection, CollectionChange, CollectionList, CollectionRequest
from db.collections import (
    CountedCollection,
    add_collection,
    change_collection,
    delete_collection,
    list_collections,
)

router = APIRouter(prefix="/v1/collections", tags=["images"], route_class=LazyRoute)

_BODY_ERRORS = (400, 408, 409, 413, 415)
CollectionId = Annotated[str, Path(max_length=36, description="The collection's id from the list.")]


@router.get("", response_model=CollectionList, summary="List collections", responses=error_responses())
async def read_collections(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List your own collections by name."""
    found = await in_thread(list_collections, farm.database, caller.owner)
    return json_response(CollectionList(items=[_view(each) for each in found]))


@router.post(
    "", status_code=201, response_model=Collection, summary="Add a collection", responses=error_responses(*_BODY_ERRORS)
)
async def create_collection(farm: FarmDependency, caller: SubmitterDependency, wanted: CollectionRequest) -> Response:
    """Add an empty collection."""
    return json_response(_view(await in_thread(add_collection, farm.database, caller.owner, wanted.name)), 201)


@router.patch(
    "/{collection_id}",
    response_model=Collection,
    summary="Change a collection",
    responses=error_responses(404, 410, *_BODY_ERRORS),
)
async def update_collection(
    farm: FarmDependency, caller: SubmitterDependency, collection_id: CollectionId, wanted: CollectionChange
) -> Response:
    """Rename it, add images and remove images. An image may be in many collections."""
    for image_id in (*wanted.add, *wanted.remove):
        if not is_id(image_id):
            raise InvalidInput(f"'{image_id[:100]}' is not an id of an image.", field="add")
    changed = await in_thread(
        change_collection,
        farm.database,
        _checked(collection_id),
        caller.owner,
        name=wanted.name,
        add=wanted.add,
        remove=wanted.remove,
        image_owner=caller.visible_owner,
    )
    return json_response(_view(changed))


@router.delete("/{collection_id}", status_code=204, summary="Delete a collection", responses=error_responses(404))
async def remove_collection(farm: FarmDependency, caller: SubmitterDependency, collection_id: CollectionId) -> Response:
    """Delete a collection; its images stay."""
    await in_thread(delete_collection, farm.database, _checked(collection_id), caller.owner)
    return Response(status_code=204)


def _checked(collection_id: str) -> str:
    if not is_id(collection_id):
        raise NotFound("You have no collection of this id; GET /v1/collections lists them.", code="collection_not_found")
    return collection_id


def _view(counted: CountedCollection) -> Collection:
    row = counted.collection
    return Collection(
        id=row.id,
        name=row.name,
        images=counted.images,
        cover=counted.cover,
        created_at=iso(row.created_at),
    )
