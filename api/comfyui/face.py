"""Submit graphs, and the parts of this face that live as long as the process."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError

from api.caller import ANONYMOUS, Caller, clean_label
from api.comfyui.files import FileLists, loaded_images
from api.comfyui.planning import PlannedPrompt, Planner, with_texts
from api.comfyui.runner import PromptRunner
from api.dependencies import CallerDependency, SubmitterDependency
from api.farm import Farm
from api.submission import pixels_of, reserved
from api.threads import in_thread
from api.validation import from_pydantic
from core.comfyui import GraphRefused, NodeError, checked_graph, read_graph, with_joined_samplers
from core.comfyui.png_texts import embedded
from core.errors import FarmError, InvalidInput
from core.ids import new_id
from core.schemas.comfyui import ComfyPromptAnswer, ComfyPromptRequest
from db.comfyui import NewPrompt, submit_prompt

_MAX_DEPTH = 100
MAX_BODY_BYTES = 2 * 2**20
"""Largest body of a prompt. It is kept whole and read again with each page of the history."""


class ComfyFace:
    """The prompts and sockets of one API process."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.files = FileLists(farm)
        self.runner = PromptRunner(farm)

    async def submit(self, caller: Caller, body: bytes) -> ComfyPromptAnswer:
        """Queue a graph; raise GraphRefused, or the errors of a submit."""
        request = prompt_request(body)
        known = await self.files.get()
        images = await loaded_images(self.farm, caller, _image_names(request.prompt))
        joined, said = with_joined_samplers(request.prompt)
        graph = checked_graph(joined, {**known.models.lists, "images": tuple(images)})
        plan = read_graph(graph, {name: image.size for name, image in images.items()})
        prompt_id = request.prompt_id or new_id()
        overview = await self.farm.overview.get()
        planner = Planner(self.farm, caller, overview, known, images, prompt_id, bool(request.front))
        planned = await planner.plan(graph, plan)
        new, warnings = _new_prompt(caller, request, planned, prompt_id)
        pixels = sum(pixels_of(job.new.input) for job in planned.jobs)
        self.runner.observe()
        async with reserved(self.farm.database, caller, len(planned.jobs), pixels):
            change = await in_thread(submit_prompt, self.farm.database, new)
        self.runner.watch(change)
        told = list(dict.fromkeys([*said, *planned.warnings, *warnings]))
        return ComfyPromptAnswer(
            prompt_id=prompt_id, number=change.row.number, node_errors=dict(plan.node_errors), warnings=told
        )


def _new_prompt(
    caller: Caller, request: ComfyPromptRequest, planned: PlannedPrompt, prompt_id: str
) -> tuple[NewPrompt, list[str]]:
    extra_data = request.extra_data or {}
    texts, warnings = embedded(request.prompt, extra_data)
    shown = {position for output in planned.outputs for position in output["jobs"]}
    first = [
        (position, with_texts(job.new, texts) if position in shown else job.new)
        for position, job in enumerate(planned.jobs)
        if job.source is None
    ]
    new = NewPrompt(
        owner=caller.owner,
        prompt_id=prompt_id,
        client_id=request.client_id,
        number=request.number,
        front=bool(request.front),
        prompt=request.prompt,
        extra_data=extra_data,
        plan=planned.stored(),
        jobs=first,
    )
    return new, warnings


def prompt_request(body: bytes) -> ComfyPromptRequest:
    """Return the request. Raises GraphRefused; ComfyUI's clients send JSON under any content type, or none."""
    if len(body) > MAX_BODY_BYTES:
        raise FarmError(f"The prompt is larger than {MAX_BODY_BYTES} bytes, the limit.", code="body_too_large")
    found = json_object(body)
    if "prompt" not in found:
        raise GraphRefused(
            NodeError("no_prompt", "No prompt provided", "Send the graph as `prompt`, in ComfyUI's API format.")
        )
    try:
        request = ComfyPromptRequest.model_validate(found)
    except ValidationError as error:
        problem = from_pydantic(error)
        raise GraphRefused(NodeError("invalid_prompt", "The request is not valid", problem.message)) from None
    for name in ("prompt_id", "client_id"):
        value = getattr(request, name)
        if value is not None and not value.isprintable():
            raise GraphRefused(
                NodeError("invalid_prompt", f"{name} cannot be used", "Send printable characters, such as a UUID.")
            )
    return request


def json_object(body: bytes) -> dict[str, Any]:
    """Return a body as a JSON object. Raises InvalidInput `malformed_json` for anything else."""
    try:
        found = json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        reason = str(error) or "it is nested too deeply"
        raise InvalidInput(f"The body is not JSON: {reason}.", code="malformed_json") from None
    if not isinstance(found, dict) or not _is_shallow(found, _MAX_DEPTH):
        raise InvalidInput("The body is not a JSON object of reasonable depth.", code="malformed_json")
    if rb"\u" in body and not _is_unicode(found):
        raise InvalidInput(
            "The body holds half of a surrogate pair, which is not a character: send valid Unicode.", code="malformed_json"
        )
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond the numbers that can be stored")
    return number


def _is_unicode(found: dict[str, Any]) -> bool:
    """Return whether an answer can repeat a body in UTF-8."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _is_shallow(value: object, depth: int) -> bool:
    """Return whether a value can be written as JSON again, which takes a stack as deep as it is nested."""
    pending = [(value, depth)]
    while pending:
        each, left = pending.pop()
        if isinstance(each, dict | list):
            if not left:
                return False
            pending += [(inner, left - 1) for inner in (each.values() if isinstance(each, dict) else each)]
    return True


def _image_names(prompt: dict[str, Any]) -> list[str]:
    nodes = (node for node in prompt.values() if isinstance(node, dict) and node.get("class_type") == "LoadImage")
    inputs = (node.get("inputs") for node in nodes)
    names = {each["image"] for each in inputs if isinstance(each, dict) and isinstance(each.get("image"), str)}
    return [name for name in names if name.isprintable()]


def get_face(request: Request) -> ComfyFace:
    """Return the face of this process."""
    face: ComfyFace = request.app.state.comfyui
    return face


def with_address(caller: Caller, host: str | None) -> Caller:
    """Give callers without a key or label one owner per address, so that each machine has a queue of its own."""
    if caller.owner != ANONYMOUS:
        return caller
    label = clean_label(f"comfyui@{host or 'unknown'}")
    return replace(caller, owner=f"client:{label}", label=label)


async def get_comfy_reader(request: Request, caller: CallerDependency) -> Caller:
    """Return a caller who may read."""
    return with_address(caller, request.client.host if request.client else None)


async def get_comfy_submitter(request: Request, caller: SubmitterDependency) -> Caller:
    """Return a caller who may submit and cancel their own prompts."""
    return with_address(caller, request.client.host if request.client else None)


FaceDependency = Annotated[ComfyFace, Depends(get_face)]
ComfyCaller = Annotated[Caller, Depends(get_comfy_reader)]
ComfySubmitter = Annotated[Caller, Depends(get_comfy_submitter)]
