"""What many requests need at the same moment is read once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import event

from api.api_keys import ApiKeyAuthenticator
from core.settings import Settings
from db.database import Database


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
