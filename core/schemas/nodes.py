"""Schemas of the machines of a farm, and of how one joins."""

from __future__ import annotations

from pydantic import Field

from core.schemas.base import RequestBody, ResponseBody, Text
from core.schemas.workers import Worker


class JoinRequest(RequestBody):
    """POST /v1/join."""

    token: str = Field(max_length=200, description="What `imagefarm join-command` printed; it is used up.")
    node: Text = Field(min_length=1, max_length=100, description="Name of the machine.")
    version: str = Field(max_length=40, description="Its version of imagefarm.")


class JoinAnswer(ResponseBody):
    """What a worker needs to reach the farm; it holds passwords."""

    version: str
    redis_url: str
    redis_prefix: str
    database_url: str
    storage_url: str
    storage_marker: str | None = Field(
        description="Name of a file that was written into `images` of a shared folder, by which the machine knows it."
    )


class Node(ResponseBody):
    """A machine with its workers. `state`: ready, busy, drained, partly, lost or stopped; `partly`: its workers differ."""

    name: str
    state: str
    running: int
    versions: list[str]
    workers: list[Worker]


class NodeList(ResponseBody):
    """GET /v1/nodes."""

    items: list[Node]


class NodeRemoved(ResponseBody):
    """The workers that finish their jobs and stop now, and those that had ended and are in no list any more."""

    stopping: list[str]
    removed: list[str]
