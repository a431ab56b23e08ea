"""Schemas of ComfyUI's face, as its clients send and read them."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from core.schemas.base import NullableBody, ResponseBody, Text

EXAMPLE: dict[str, Any] = {
    "client_id": "0b6d3c1e",
    "prompt": {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
                "seed": 5,
                "steps": 8,
                "cfg": 1,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1,
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "demo.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "a red fox asleep in snow"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": ""}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "fox"}},
    },
}


class ComfyPromptRequest(NullableBody):
    """POST /prompt: a graph in ComfyUI's API format. Other fields of ComfyUI are taken and have no effect."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [EXAMPLE]})

    prompt: dict[str, Any] = Field(description="Node id -> `class_type` and `inputs`; GET /object_info lists the classes.")
    client_id: str | None = Field(None, max_length=100, description="That of your web socket, which then gets the events.")
    prompt_id: str | None = Field(None, min_length=1, max_length=100, description="Kept as it is. Default: a new id.")
    number: float | None = Field(None, allow_inf_nan=False, description="Returned by /queue; it orders nothing here.")
    front: bool | None = Field(None, description="Raise the priority by one.")
    extra_data: dict[str, Any] | None = Field(
        None, description="`extra_pnginfo.workflow` is written into the images, beside `prompt`."
    )


class ComfyPromptAnswer(ResponseBody):
    """The prompt is queued. `node_errors`: outputs that were left out. `warnings`: what has no effect here."""

    prompt_id: str
    number: float
    node_errors: dict[str, Any]
    warnings: list[str] = Field(default_factory=list)


class ComfyErrorBody(ResponseBody):
    """What is wrong, with ComfyUI's type or the farm's stable code."""

    type: str
    message: str
    details: str
    extra_info: dict[str, Any]


class ComfyError(ResponseBody):
    """An error in ComfyUI's shape."""

    error: ComfyErrorBody
    node_errors: dict[str, Any]


class ComfyExecInfo(ResponseBody):
    """Your prompts that have not ended."""

    queue_remaining: int


class ComfyQueueInfo(ResponseBody):
    """GET /prompt."""

    exec_info: ComfyExecInfo


class ComfyQueue(ResponseBody):
    """Your prompts as ComfyUI lists them: number, prompt_id, graph, extra_data, output nodes."""

    queue_running: list[list[Any]]
    queue_pending: list[list[Any]]


class ComfyImage(ResponseBody):
    """An image by ComfyUI's name: pass the three fields to GET /view."""

    name: str
    subfolder: str
    type: str


class ComfyQueueChange(NullableBody):
    """POST /queue and POST /history: what to remove."""

    model_config = ConfigDict(extra="allow")

    clear: bool | None = Field(None, description="All of yours.")
    delete: list[Text] | None = Field(None, max_length=1000, description="Those of these prompt_ids.")


class ComfyInterrupt(NullableBody):
    """POST /interrupt; the body may be missing."""

    model_config = ConfigDict(extra="allow")

    prompt_id: Text | None = Field(None, max_length=100, description="Only this one, if it runs.")
