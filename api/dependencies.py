"""FastAPI dependencies of routes, the JSON response that routes return, and when it is 304 instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.caller import Caller
from api.farm import Farm
from core.api_keys import Scope
from core.errors import NotFound
from core.ids import is_id

_TAG = re.compile(r'(?:W/)?("[^"]*")')


def json_response(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a model as JSON without validating it again."""
    return Response(
        model.model_dump_json(),
        status,
        headers={"Cache-Control": "no-cache", **(headers or {})},
        media_type="application/json",
    )


def farm_of(request: Request) -> Farm:
    """Return the farm that serves this request."""
    farm: Farm = request.app.state.farm
    return farm


async def get_farm(request: Request) -> Farm:
    """Return the farm that serves this request."""
    return farm_of(request)


Label = Annotated[
    str | None, Header(description="Names the program that calls: each label gets its fair share of the queue.")
]


async def identify(request: Request, x_client_label: Label = None) -> Caller:
    """Return the caller; raise Unauthorized when keys are required and no valid one was sent."""
    return await identified(request, x_client_label)


async def identified(request: Request, label: str | None) -> Caller:
    """Return the caller like `identify`, with the label as an argument."""
    return await farm_of(request).authenticator.caller(request, label)


Identified = Annotated[Caller, Depends(identify)]


# These do not depend on `identify`: FastAPI's cost of a request grows with each dependency in the chain.
async def get_reader(request: Request, x_client_label: Label = None) -> Caller:
    """Return a caller who may read."""
    return _with_scope(await identified(request, x_client_label), Scope.READ_OWN)


async def get_submitter(request: Request, x_client_label: Label = None) -> Caller:
    """Return a caller who may submit, and change their own jobs."""
    return _with_scope(await identified(request, x_client_label), Scope.SUBMIT)


async def get_admin(request: Request, x_client_label: Label = None) -> Caller:
    """Return a caller who may administer the farm."""
    return _with_scope(await identified(request, x_client_label), Scope.ADMIN)


def _with_scope(caller: Caller, scope: Scope) -> Caller:
    caller.require(scope)
    return caller


async def job_id_of(job_id: Annotated[str, Path(description="The job's id.")]) -> str:
    """Return the id; raise NotFound without a query for text that cannot be an id."""
    if not is_id(job_id):
        raise NotFound("There is no job with this id.", code="job_not_found")
    return job_id


async def image_id_of(image_id: Annotated[str, Path(description="The image's id.")]) -> str:
    """Return the id; raise NotFound without a query for text that cannot be an id."""
    if not is_id(image_id):
        raise NotFound("There is no image with this id.", code="image_not_found")
    return image_id


FarmDependency = Annotated[Farm, Depends(get_farm)]
CallerDependency = Annotated[Caller, Depends(get_reader)]
SubmitterDependency = Annotated[Caller, Depends(get_submitter)]
AdminDependency = Annotated[Caller, Depends(get_admin)]
JobId = Annotated[str, Depends(job_id_of)]
ImageId = Annotated[str, Depends(image_id_of)]


def none_match(header: str | None, tag: str) -> bool:
    """Return whether If-None-Match names `tag`, so that 304 is the answer. `W/` makes no difference (RFC 9110, 13.1.2)."""
    if header is None:
        return False
    return header.strip() == "*" or tag.removeprefix("W/") in _TAG.findall(header)
