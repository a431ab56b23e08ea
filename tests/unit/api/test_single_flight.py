"""What many requests need at the same moment is read once."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from api import api_keys
from api.api_keys import ApiKeyAuthenticator
from core.sessions import hash_token
from core.settings import Settings
from db.database import Database
from db.tables import ApiKey


def test_requests_at_the_same_time_ask_once_whether_keys_are_in_force(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'farm.db'}")
    uses: list[object] = []
    event.listen(database.engine, "checkout", lambda *_: uses.append(None))
    authenticator = ApiKeyAuthenticator(Settings(data_dir=tmp_path), database)

    async def ask() -> list[bool]:
        return await asyncio.gather(*(authenticator.in_force() for _ in range(20)))

    assert asyncio.run(ask()) == [False] * 20
    assert len(uses) == 1
    database.dispose()


def test_a_session_that_ends_while_it_is_read_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path / 'farm.db'}")
    authenticator = ApiKeyAuthenticator(Settings(data_dir=tmp_path), database)
    may_answer, session = threading.Event(), ApiKey()
    found: list[ApiKey | None] = [session]

    def read(*_: object) -> ApiKey | None:
        answer = found[0]
        may_answer.wait(30)
        return answer

    monkeypatch.setattr(api_keys, "key_of_session", read)

    async def ask() -> None:
        before = asyncio.create_task(authenticator._session_row("token"))
        await asyncio.sleep(0.1)
        found[0] = None
        authenticator.forget_session(hash_token("token"))
        after = asyncio.create_task(authenticator._session_row("token"))
        await asyncio.sleep(0.1)
        may_answer.set()
        assert await before is session, "it was asked for before the end"
        assert await after is None
        assert await authenticator._session_row("token") is None

    asyncio.run(ask())
    database.dispose()


def test_a_key_counts_from_the_start_of_its_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path / 'farm.db'}")
    authenticator = ApiKeyAuthenticator(Settings(data_dir=tmp_path), database)
    rows: list[ApiKey | None] = [ApiKey(), None]

    def read(*_: object) -> ApiKey | None:
        row = rows.pop(0)
        time.sleep(0.3)  # The key is revoked meanwhile.
        return row

    monkeypatch.setattr(api_keys, "active_key", read)
    monkeypatch.setattr(api_keys, "FRESH_SECONDS", 0.2)

    async def ask() -> None:
        assert await authenticator.row("one") is not None
        assert await authenticator.row("one") is None

    asyncio.run(ask())
    database.dispose()
