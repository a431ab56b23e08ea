"""Connections to the farm's Redis: to one server, or to the master that its Sentinels name."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from core.redis_sentinel import ASKING, SentinelUrl, is_sentinel_url, parse_sentinel_url


def connect(url: str, **options: Any) -> redis.Redis:  # noqa: ANN401 -- redis-py's own options
    """Return a client, which connects at its first command. `options`: those of `redis.Redis`, such as `socket_timeout`."""
    if not is_sentinel_url(url):
        return redis.Redis.from_url(url, **options)
    found = parse_sentinel_url(url)
    sentinel = redis.sentinel.Sentinel(found.sentinels, sentinel_kwargs=dict(ASKING))  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(found.master, **_of_master(found), **options)  # type: ignore[no-untyped-call]
    return client


def connect_async(url: str, **options: Any) -> redis.asyncio.Redis:  # noqa: ANN401 -- redis-py's own options
    """Return an asynchronous client, like `connect`."""
    if not is_sentinel_url(url):
        return redis.asyncio.Redis.from_url(url, **options)
    found = parse_sentinel_url(url)
    sentinel = redis.asyncio.sentinel.Sentinel(found.sentinels, sentinel_kwargs=dict(ASKING))  # type: ignore[no-untyped-call]
    client: redis.asyncio.Redis = sentinel.master_for(found.master, **_of_master(found), **options)
    return client


def _of_master(url: SentinelUrl) -> dict[str, Any]:
    return {"db": url.database, "username": url.username or None, "password": url.password or None}
