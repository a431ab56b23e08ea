"""ComfyUI's messages about a prompt: its events, and its entry in the history."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from api.comfyui.planning import names_of_images
from db.tables import ComfyPrompt, Image, Job

Message = tuple[str, dict[str, Any]]
"""The `type` and `data` of an event."""
_PREVIEW, _JPEG, _PNG = 1, 1, 2
_INTERRUPTED = "interrupted"


def binary_preview(image: bytes) -> bytes:
    """Return the binary message of a preview, which is JPEG or PNG: type, format, file."""
    return struct.pack(">II", _PREVIEW, _PNG if image.startswith(b"\x89PNG") else _JPEG) + image


def status(remaining: int, sid: str | None = None) -> Message:
    """Return the event with the number of prompts that have not ended."""
    data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": remaining}}}
    return "status", data | ({"sid": sid} if sid is not None else {})


def started(prompt_id: str, at: float | None = None) -> list[Message]:
    """Return the events of a prompt's start. `at`: in seconds since 1970."""
    stamp = _stamp(at)
    return [
        ("execution_start", {"prompt_id": prompt_id, "timestamp": stamp}),
        ("execution_cached", {"nodes": [], "prompt_id": prompt_id, "timestamp": stamp}),
    ]


def executing(prompt_id: str, node: str | None) -> Message:
    """Return the event that names the node that is executed; None means that the prompt has ended."""
    if node is None:
        return "executing", {"node": None, "prompt_id": prompt_id}
    return "executing", {"node": node, "display_node": node, "prompt_id": prompt_id}


def progress(prompt_id: str, node: str, step: int, steps: int) -> Message:
    """Return the event of a sampler's steps."""
    return "progress", {"value": step, "max": steps, "prompt_id": prompt_id, "node": node}


def ended(row: ComfyPrompt) -> list[Message]:
    """Return the events of a prompt's end: its outputs and success, or the error."""
    result = row.result or {}
    found: list[Message] = []
    for output in row.plan["outputs"]:
        if output["node"] in result.get("outputs", {}):
            found += [executing(row.prompt_id, node) for node in output["nodes"]]
            data = {"node": output["node"], "display_node": output["node"], "prompt_id": row.prompt_id}
            found.append(("executed", data | {"output": result["outputs"][output["node"]]}))
    messages = result.get("status", {}).get("messages", ())
    found += [(name, data) for name, data in messages[-1:]]
    return [*found, executing(row.prompt_id, None)]


def result_of(
    row: ComfyPrompt,
    jobs: Mapping[int, Job | None],
    images: Mapping[int, Sequence[Image]],
    problem: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the history's fields of a prompt that has ended: `outputs`, `status` and `meta`."""
    starts = [job.started_at for job in jobs.values() if job is not None and job.started_at is not None]
    messages = [[name, data] for name, data in started(row.prompt_id, min(starts, default=None))]
    outputs: dict[str, Any] = {}
    for output in row.plan["outputs"]:
        if all(position in images for position in output["jobs"]):
            shown = [image for position in output["jobs"] for image in images[position]]
            outputs[output["node"]] = {"images": names_of_images(shown, output)}
    if problem is None:
        messages.append(["execution_success", {"prompt_id": row.prompt_id, "timestamp": _stamp()}])
    else:
        messages.append(_failure(row, images, problem))
    succeeded = problem is None
    return {
        "outputs": outputs,
        "status": {"status_str": "success" if succeeded else "error", "completed": succeeded, "messages": messages},
        "meta": {
            node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node} for node in outputs
        },
    }


def _failure(row: ComfyPrompt, images: Mapping[int, object], problem: Mapping[str, Any]) -> list[Any]:
    planned = row.plan["jobs"]
    node = planned[min(int(problem["position"]), len(planned) - 1)]["node"]
    done = [name for position in images for name in planned[position]["nodes"]]
    data = {
        "prompt_id": row.prompt_id,
        "node_id": node,
        "node_type": row.prompt[node]["class_type"],
        "executed": done,
        "timestamp": _stamp(),
    }
    if problem["code"] == _INTERRUPTED:
        return ["execution_interrupted", data]
    about = {
        "exception_message": problem["message"],
        "exception_type": problem["code"],
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    }
    return ["execution_error", data | about]


def queue_entry(row: ComfyPrompt) -> list[Any]:
    """Return a prompt as ComfyUI's queue and history have it: number, id, graph, extra data, output nodes."""
    client = {"client_id": row.client_id} if row.client_id is not None else {}
    return [row.number, row.prompt_id, row.prompt, row.extra_data | client, [each["node"] for each in row.plan["outputs"]]]


def history_entry(row: ComfyPrompt) -> dict[str, Any]:
    """Return the entry of a prompt in ComfyUI's history."""
    return {"prompt": queue_entry(row), **(row.result or {})}


def _stamp(at: float | None = None) -> int:
    """Return milliseconds since 1970, as ComfyUI has them."""
    return int((time.time() if at is None else at) * 1000)
