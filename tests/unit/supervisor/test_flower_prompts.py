"""Flower hides prompts once a key exists, and until it knows that none does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from celery import Celery
from flower.options import options
from flower.urls import settings as handler_settings
from pydantic import SecretStr
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from core.connection_urls import sqlite_url
from core.queue import flower_kwargs
from core.settings import Settings
from db.api_keys import NewKey, create_key, revoke_key
from db.database import Database
from supervisor.flower import prompts
from supervisor.flower.access import OPEN_API_VARIABLE, GuardedFlower
from supervisor.flower.columns import shown_columns
from supervisor.flower.prompts import HIDDEN, PromptFreeEvents, PromptGuard, without_prompt
from tests.conftest import Migrate

INPUT = {"prompt": "SECRET cat", "width": 512, "height": 768, "num_inference_steps": 8, "seed": 7}
SHOWN = repr(flower_kwargs("demo", INPUT))
SENT = {"type": "task-sent", "hostname": "h", "timestamp": 1.0, "clock": 1, "local_received": 1.0, "name": "n"}


@pytest.fixture
def settings(tmp_path: Path, migrate: Migrate) -> Settings:
    migrate(f"sqlite:///{tmp_path / 'imagefarm.db'}")
    return Settings(_env_file=None, data_dir=tmp_path, database_url=sqlite_url(tmp_path / "imagefarm.db"))


def test_only_the_prompt_is_hidden() -> None:
    shown = shown_columns(without_prompt(SHOWN))
    assert shown == {"prompt": HIDDEN, "model": "demo", "size": "512x768", "steps": 8, "seed": 7}
    assert "SECRET" not in without_prompt("{'prompt': 'SECRET cut off...")
    assert without_prompt("{}") == "{}"


def test_a_key_hides_prompts_for_good(settings: Settings) -> None:
    guard = PromptGuard(settings)
    seen = [guard.hidden]  # nothing is known yet
    guard.look()
    seen.append(guard.hidden)
    database = Database(settings.resolved_database_url)
    key, _ = create_key(database, NewKey("x"))
    guard.look()
    seen.append(guard.hidden)
    revoke_key(database, key.id)
    database.dispose()
    guard.look()
    seen.append(guard.hidden)
    again = PromptGuard(settings)
    again.look()
    assert [*seen, again.hidden] == [True, False, True, True, True]


def test_a_password_shows_them(settings: Settings) -> None:
    guard = PromptGuard(settings.model_copy(update={"flower_basic_auth": SecretStr("u:p")}))
    guard.look()
    assert not guard.hidden


def test_without_an_answer_of_the_database_they_are_hidden(settings: Settings, tmp_path: Path) -> None:
    guard = PromptGuard(settings)
    guard.look()
    (tmp_path / "imagefarm.db").write_text("no database " * 1000)
    guard.look()
    assert guard.hidden


def test_tasks_that_flower_already_knows_lose_their_prompts(settings: Settings) -> None:
    async def run() -> None:
        guard = PromptGuard(settings)
        guard.look()
        app = Celery(set_as_current=False)
        events = PromptFreeEvents(guard, capp=app, io_loop=IOLoop.current(), max_tasks_in_memory=10)
        events._store(SENT | {"uuid": "1", "kwargs": SHOWN})
        assert "SECRET" in str(events.state.tasks["1"].as_dict())
        database = Database(settings.resolved_database_url)
        create_key(database, NewKey("x"))
        database.dispose()
        await events._check()
        events._store(SENT | {"uuid": "2", "kwargs": SHOWN})
        for task_id in ("1", "2"):
            assert "SECRET" not in str(events.state.tasks[task_id].as_dict())
            assert HIDDEN in events.state.tasks[task_id].kwargs
        found = events.state.search_engine.search(events.state.tasks, "kwargs:SECRET")
        assert list(found.task_ids) == []

    asyncio.run(run())


def test_no_answer_after_a_new_key_shows_a_prompt(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPEN_API_VARIABLE, "true")
    monkeypatch.setattr(prompts, "FRESH_SECONDS", 0.001)

    async def run() -> list[str]:
        guard = PromptGuard(settings)
        guard.look()
        app = Celery(set_as_current=False)
        events = PromptFreeEvents(guard, capp=app, io_loop=IOLoop.current(), max_tasks_in_memory=10)
        events._store(SENT | {"uuid": "1", "kwargs": SHOWN})
        flower = GuardedFlower(
            events.check, capp=app, options=options, events=events, io_loop=IOLoop.current(), **handler_settings
        )
        (listener,) = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(flower)
        server.add_socket(listener)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            answers = [(await client.get("/api/tasks")).text]
            database = Database(settings.resolved_database_url)
            create_key(database, NewKey("x"))
            database.dispose()
            answers += [response.text for response in await asyncio.gather(*[client.get("/api/tasks") for _ in range(4)])]
        server.stop()
        await server.close_all_connections()
        return answers

    first, *later = asyncio.run(run())
    assert "SECRET cat" in first
    assert len(later) == 4
    assert all(HIDDEN in answer and "SECRET" not in answer for answer in later)


def test_what_was_hidden_for_want_of_an_answer_is_shown_again_without_a_request(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "FRESH_SECONDS", 0.001)

    async def run() -> None:
        guard = PromptGuard(settings)  # has not looked yet, as after an outage of the database
        events = PromptFreeEvents(
            guard, capp=Celery(broker="memory://", set_as_current=False), io_loop=IOLoop.current(), max_tasks_in_memory=10
        )
        events.run = lambda: None  # type: ignore[method-assign]
        events.start()
        async with asyncio.timeout(60):
            while guard.hidden or events._retries.is_running():
                await asyncio.sleep(0.001)

    asyncio.run(run())
