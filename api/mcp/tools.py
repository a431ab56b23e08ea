"""The MCP server with its tools, for every transport."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import BeforeValidator, Field, ValidationError

from api.mcp.calls import Body, Connect, FarmCalls, Refused, summary
from api.mcp.plain_errors import argument_problems
from core.schemas.base import refuse_boolean
from core.version import VERSION

WAIT_SECONDS = 300.0
"""Longest wait of a tool; the job continues afterwards, and get_job returns it."""
INSTRUCTIONS = """Render images on this farm. generate_image waits for its images and reports progress; when a call ends
before its job, ask again with get_job. Image ids from an answer can be passed to edit_image and upscale_image."""

Integer = Annotated[int, BeforeValidator(refuse_boolean)]
Number = Annotated[float, BeforeValidator(refuse_boolean)]
Prompt = Annotated[str, Field(description="What the image shows, in a whole sentence.")]
Model = Annotated[str | None, Field(description="Id from list_models. Default: the farm's own choice.")]
Seed = Annotated[Integer | None, Field(description="The same seed and settings give the same image. Default: a random one.")]
Source = Annotated[
    str, Field(description="An image_id from an earlier answer, or the image itself as base64 or a data URL.")
]


def make_server(connect: Connect) -> MCPServer[Any]:
    """Create the server; `connect` returns the connection of one tool call to the farm."""
    handlers = list(logging.getLogger().handlers)
    server = _Server("imagefarm", title="imagefarm", version=VERSION, instructions=INSTRUCTIONS)
    logging.getLogger().handlers[:] = handlers  # the SDK adds one of its own to a program's root logger
    tools = _Tools(connect)
    changing = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
    reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool in (tools.generate_image, tools.edit_image, tools.upscale_image):
        server.add_tool(tool, annotations=changing, structured_output=False)
    for reader in (tools.get_job, tools.list_models):
        server.add_tool(reader, annotations=reading, structured_output=False)
    return server


class _Server(MCPServer[Any]):
    """Refuses arguments in a sentence: the SDK would pass pydantic's report on."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None) -> Any:  # noqa: ANN401 -- of the SDK
        """Run a tool. Raises ToolError."""
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(argument_problems(error.__cause__.errors())) from error.__cause__
            raise


class _Tools:
    """Each method is a tool; its docstring is what assistants read."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def generate_image(
        self,
        ctx: Context[Any, Any],
        prompt: Prompt,
        negative_prompt: Annotated[str | None, Field(description="What to avoid; for models with guidance only.")] = None,
        model: Model = None,
        width: Annotated[
            Integer | None, Field(description="Pixels, a multiple of 16. Default: the model's own size.")
        ] = None,
        height: Annotated[Integer | None, Field(description="Pixels, a multiple of 16.")] = None,
        num_images: Annotated[Integer, Field(ge=1, le=16, description="Each gets its own seed.")] = 1,
        num_inference_steps: Annotated[Integer | None, Field(description="Default: the model's own.")] = None,
        guidance_scale: Annotated[
            Number | None, Field(allow_inf_nan=False, description="1 is off. Default: the model's own.")
        ] = None,
        seed: Seed = None,
    ) -> CallToolResult:
        """Render images from a text. Returns the images and their URLs."""
        given = {name: value for name, value in locals().items() if name not in ("self", "ctx")}
        return await self._render(ctx, lambda calls: calls.post("/v1/jobs", given))

    async def edit_image(
        self,
        ctx: Context[Any, Any],
        image: Source,
        prompt: Prompt,
        strength: Annotated[
            Number | None, Field(gt=0, le=1, description="How much to change: 0.3 keeps most, 0.9 little. Default: 0.6.")
        ] = None,
        mask: Annotated[
            str | None, Field(description="Image as base64 or data URL: only its white areas are painted anew.")
        ] = None,
        negative_prompt: str | None = None,
        model: Model = None,
        seed: Seed = None,
    ) -> CallToolResult:
        """Render an image again as a text says, starting from an image. Returns the image and its URL."""
        given: Body = {
            "prompt": prompt, "negative_prompt": negative_prompt, "strength": strength, "model": model, "seed": seed,
        }  # fmt: skip

        async def submit(calls: FarmCalls) -> Body:
            given["init_image"] = await _id_of(calls, image, "image")
            if mask is not None:
                given["mask"] = await _id_of(calls, mask, "mask")
            return await calls.post("/v1/jobs", given)

        return await self._render(ctx, submit)

    async def upscale_image(
        self,
        ctx: Context[Any, Any],
        image: Source,
        scale: Annotated[Integer, Field(ge=2, le=4, description="Factor of width and height.")] = 2,
        upscaler: Annotated[str | None, Field(description="Id of an upscaler. Default: realesrgan-x4plus.")] = None,
    ) -> CallToolResult:
        """Enlarge an image with an upscaler. Returns a reduced version of the image and the URL of the whole one."""

        async def submit(calls: FarmCalls) -> Body:
            kind = "image" if _is_id(image) else "upload"
            source = await _id_of(calls, image, "image")
            return await calls.post("/v1/upscales", {kind: source, "scale": scale, "upscaler": upscaler})

        return await self._render(ctx, submit)

    async def get_job(
        self, ctx: Context[Any, Any], job_id: Annotated[str, Field(description="From an earlier answer.")]
    ) -> CallToolResult:
        """Return the state of a job, and its images once it has succeeded."""
        calls = self._connect(ctx.request_context)
        try:
            if not _is_id(job_id):
                raise Refused(f"'{job_id[:100]}' is no job id: pass the job_id of an earlier answer.")
            return await _result(calls, await calls.get(f"/v1/jobs/{job_id}"))
        except Refused as error:
            return _refusal(error)

    async def list_models(self, ctx: Context[Any, Any]) -> CallToolResult:
        """List the models that render now, with what each is for and its usual settings."""
        calls = self._connect(ctx.request_context)
        try:
            found = await calls.get("/v1/models")
        except Refused as error:
            return _refusal(error)
        rows = [
            {name: row[name] for name in ("id", "title", "about", "defaults", "image_to_image", "default")}
            for row in found["data"]
            if row["accepts_jobs"]
        ]
        return CallToolResult(content=[_text({"models": rows})], structured_content={"models": rows})

    async def _render(self, ctx: Context[Any, Any], submit: Any) -> CallToolResult:  # noqa: ANN401 -- a coroutine function
        calls = self._connect(ctx.request_context)
        try:
            job = await calls.wait(await submit(calls), WAIT_SECONDS, ctx.report_progress)
            return await _result(calls, job)
        except Refused as error:
            return _refusal(error)


async def _result(calls: FarmCalls, job: Body) -> CallToolResult:
    about = summary(job, calls)
    images = await calls.inline_images(job) if job["status"] == "succeeded" else []
    content: list[ContentBlock] = [_text(about)]
    for image in images:
        content.append(ImageContent(type="image", data=base64.b64encode(image.data).decode(), mime_type=image.media_type))
        content.append(TextContent(type="text", text=image.url))
    has_failed = job["status"] in ("failed", "canceled", "expired", "held")
    return CallToolResult(content=content, structured_content=about, is_error=has_failed)


def _refusal(error: Refused) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=str(error))], is_error=True)


def _text(found: Body) -> TextContent:
    return TextContent(type="text", text=json.dumps(found, ensure_ascii=False))


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4


async def _id_of(calls: FarmCalls, image: str, field: str) -> str:
    """Return the id of an image that was named or sent. Raises Refused."""
    if _is_id(image):
        return image
    text = image.partition(",")[2] if image.startswith("data:") else image
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(f"{field} is neither an image_id nor base64: pass the image_id of an earlier answer.") from None
    return await calls.upload(data)
