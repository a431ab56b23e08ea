"""The MCP tools, used by the official SDK's client over HTTP and over standard input and output."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image
from redis import Redis

from core.settings import Settings
from db.api_keys import NewKey, create_key
from db.database import Database
from tests.conftest import Migrate
from tests.integration.api.running import WorkerSide, serving
from tests.servers.farm import ROOT, clean_environment
from tests.servers.redis import RedisServer

SIDE = 64
TOOLS = ["generate_image", "edit_image", "upscale_image", "get_job", "list_models"]


class Farm:
    """A running API with two owners' keys, and simulated workers that render and enlarge."""

    def __init__(self, url: str, keys: tuple[str, str], worker: WorkerSide, upscaler: WorkerSide) -> None:
        self.url, self.keys, self.worker, self.upscaler = url, keys, worker, upscaler

    @asynccontextmanager
    async def over_http(self, key: str) -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=120) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http)) as client,
        ):
            yield client

    @asynccontextmanager
    async def over_stdio(self, key: str) -> AsyncIterator[Client]:
        environment = clean_environment(IMAGEFARM_URL=self.url, IMAGEFARM_API_KEY=key)
        command = StdioServerParameters(command=sys.executable, args=["-m", "cli", "mcp"], env=environment, cwd=ROOT)
        async with Client(stdio_client(command)) as client:
            yield client


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate, redis_server: RedisServer) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("mcp")
    url = f"sqlite:///{folder / 'test.db'}"
    migrate(url)
    with Redis.from_url(redis_server.url) as connection:
        connection.flushall()
    given = {"data_dir": folder / "data", "database_url": url, "redis_url": redis_server.url, "redis_prefix": "mcp:"}
    settings = Settings(_env_file=None, **given)  # type: ignore[arg-type]
    with ExitStack() as stack:
        database = Database(url)
        stack.callback(database.dispose)
        ann, bob = (create_key(database, NewKey(name=name, owner=name))[1] for name in ("ann", "bob"))
        sides = [WorkerSide(settings), WorkerSide(settings, "upscale", "upscale-box")]
        for side in sides:
            stack.callback(side.close)
            side.ready()
        yield Farm(stack.enter_context(serving(settings)), (ann, bob), *sides)


Connection = AbstractAsyncContextManager[Client]


def run(connection: Connection, use: Callable[[Client], Awaitable[Any]]) -> Any:  # noqa: ANN401 -- what `use` returns
    async def connected() -> Any:  # noqa: ANN401
        async with connection as client:
            return await use(client)

    return asyncio.run(connected())


def texts(result: CallToolResult) -> list[str]:
    return [each.text for each in result.content if isinstance(each, TextContent)]


def pictures(result: CallToolResult) -> list[Image.Image]:
    images = [each for each in result.content if isinstance(each, ImageContent)]
    return [Image.open(io.BytesIO(base64.b64decode(each.data))) for each in images]


@pytest.mark.parametrize("way", ["over_http", "over_stdio"])
def test_an_assistant_renders_edits_and_enlarges(farm: Farm, way: str) -> None:
    reported: list[tuple[float, float | None, str | None]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reported.append((progress, total, message))

    async def use(client: Client) -> None:
        assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
        models = await client.call_tool("list_models", {})
        assert [row["id"] for row in models.structured_content["models"]] == ["demo"]
        arguments = {"prompt": "a red fox", "width": SIDE, "height": SIDE, "num_images": 2, "seed": 7}
        asked = asyncio.create_task(client.call_tool("generate_image", arguments, progress_callback=report))
        while (job := await asyncio.to_thread(farm.worker.claim)) is None:
            await asyncio.sleep(0.02)
        farm.worker.progress(job, step=1, steps=4, value=0.25)
        while not any(progress == 0.25 for progress, _, _ in reported):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(farm.worker.finish, job)
        made = await asked
        about = made.structured_content
        assert (about["status"], [image["seed"] for image in about["images"]]) == ("succeeded", [7, 8])
        assert [picture.size for picture in pictures(made)] == [(SIDE, SIDE)] * 2
        assert about["images"][0]["url"].startswith(f"{farm.url}/v1/images/")
        assert about["images"][1]["url"] in texts(made)
        assert json.loads(texts(made)[0]) == about
        first = about["images"][0]["image_id"]
        shown = await client.call_tool("get_job", {"job_id": about["job_id"]})
        assert shown.structured_content == about
        with farm.worker.working(), farm.upscaler.working():
            edited = await client.call_tool("edit_image", {"image": first, "prompt": "in snow", "strength": 0.5, "seed": 1})
            buffer = io.BytesIO()
            Image.new("RGB", (SIDE, SIDE), "red").save(buffer, "PNG")
            sent = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
            own = await client.call_tool("edit_image", {"image": sent, "prompt": "in snow", "seed": 1})
            large = await client.call_tool("upscale_image", {"image": first, "scale": 2, "upscaler": "lanczos"})
        assert [len(pictures(result)) for result in (edited, own, large)] == [1, 1, 1]
        assert large.structured_content["images"][0]["width"] == 2 * SIDE

    run(getattr(farm, way)(farm.keys[0]), use)
    assert reported == sorted(reported, key=lambda each: each[0]), "progress only grows"
    assert (reported[-1][0], reported[-1][1]) == (1.0, 1.0)
    assert any(message == "step 1 of 4" for _, _, message in reported)


def test_refusals_say_what_to_do_and_owners_see_their_own_only(farm: Farm) -> None:
    async def refused(client: Client) -> list[CallToolResult]:
        return [
            await client.call_tool("generate_image", {"prompt": "x", "model": "no-such-model"}),
            await client.call_tool("generate_image", {"prompt": "x", "width": 7}),
            await client.call_tool("edit_image", {"image": "not base64!", "prompt": "x"}),
            await client.call_tool("get_job", {"job_id": "../keys"}),
        ]

    results = run(farm.over_http(farm.keys[0]), refused)
    assert all(result.is_error for result in results)
    wanted = ("unknown_model", "multiple of 16", "neither an image_id nor base64", "is no job id")
    for result, text in zip(results, wanted, strict=True):
        assert text in texts(result)[0] or "out of range" in texts(result)[0]

    async def one(client: Client) -> str:
        with farm.worker.working():
            made = await client.call_tool("generate_image", {"prompt": "x", "width": SIDE, "height": SIDE})
        return str(made.structured_content["job_id"])

    job_id = run(farm.over_http(farm.keys[0]), one)
    other = run(farm.over_http(farm.keys[1]), lambda client: client.call_tool("get_job", {"job_id": job_id}))
    assert (other.is_error, "job_not_found" in texts(other)[0]) == (True, True)
    answers = [
        httpx2.post(f"{farm.url}/mcp", json={}, headers=headers, timeout=120).status_code
        for headers in ({}, {"Authorization": "Bearer ifk_wrong"}, {"Origin": "https://evil.example"})
    ]
    assert answers == [401, 401, 403]


def test_malformed_messages_and_wrong_arguments_get_a_sentence(farm: Farm) -> None:
    def post(text: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {farm.keys[0]}", "Content-Type": "application/json"}
        headers["Accept"] = "application/json, text/event-stream"
        return httpx2.post(f"{farm.url}/mcp", content=text, headers=headers, timeout=120)

    def called(arguments: str) -> str:
        params = f'{{"name": "generate_image", "arguments": {arguments}}}'
        return post(f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {params}}}').text

    answers = {text: post(text) for text in ("{}", "[1]", '{"jsonrpc": "1.0", "method": 5}', "{not json")}
    assert [answer.status_code for answer in answers.values()] == [400] * 4
    wrong = [answer.json()["error"]["message"] for answer in answers.values()]
    assert all("pydantic" not in text and "validation error" not in text for text in wrong)
    assert all(text.startswith("The body is no JSON-RPC message: send an object") for text in wrong[:3])
    assert wrong[3].startswith("The body is not JSON (")
    assert "guidance_scale: Input should be a finite number" in called('{"prompt": "x", "guidance_scale": 1e999}')
    refused = called('{"prompt": "x", "num_images": true, "width": "wide"}')
    assert "num_images: true and false are no numbers: send a number" in refused
    assert "pydantic" not in refused
