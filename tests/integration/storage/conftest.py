"""One S3-compatible server for a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.s3 import S3Server, s3_server


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(running: S3Server) -> Iterator[S3Server]:
    yield running
    running.refuse = lambda request: False
    running.requests.clear()
