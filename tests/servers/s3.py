"""An S3-compatible server (moto's) on a free port of loopback, and a proxy before it that can fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, cast
from urllib.parse import quote, unquote
from wsgiref.types import StartResponse, WSGIEnvironment

import boto3
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

BUCKET = "farm"
_UNAVAILABLE = b"<Error><Code>ServiceUnavailable</Code><Message>Away.</Message></Error>"


@dataclass
class S3Server:
    """A server with one bucket. `refuse`: requests, as `METHOD path`, that are answered with 503 while it returns True."""

    port: int
    refuse: Callable[[str], bool] = lambda request: False
    requests: list[str] = field(default_factory=list)
    client: Any = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, prefix: str = "") -> str:
        return f"s3://key:secret@{BUCKET}/{prefix}?endpoint={self.endpoint}&region=us-east-1"

    def keys(self, prefix: str = "") -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {entry["Key"] for page in pages for entry in page.get("Contents", ())}


@contextmanager
def s3_server(address: str = "127.0.0.1", port: int = 0, keep: Path | None = None) -> Iterator[S3Server]:
    """Run the server on a thread. Port 0 takes a free one.

    Its objects are in memory, and in the folder `keep` if there is one: there they outlive a process that is killed.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = cast(Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]], DomainDispatcherApplication(create_backend_app))
    found = S3Server(0)

    def serve(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        found.requests.append(request)
        if found.refuse(request):
            start("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [_UNAVAILABLE]
        answer = list(moto(environ, start))
        if keep is not None:
            _keep_object(keep, environ)
        return answer

    server = make_server(address, port, serve, threaded=True)
    found.port = server.port
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.client = boto3.client(
        "s3",
        endpoint_url=found.endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    found.client.create_bucket(Bucket=BUCKET)
    for file in sorted(keep.glob("[!.]*")) if keep is not None else ():
        found.client.put_object(Bucket=BUCKET, Key=unquote(file.name), Body=file.read_bytes())
    try:
        yield found
    finally:
        found.client.close()
        server.shutdown()
        server.server_close()
        thread.join()


def _keep_object(folder: Path, environ: WSGIEnvironment) -> None:
    """Make the file of the object that a request changed what the server now holds of it."""
    bucket, _, key = environ["PATH_INFO"].removeprefix("/").partition("/")
    if bucket != BUCKET or not key or environ["REQUEST_METHOD"] not in ("PUT", "POST", "DELETE"):
        return
    file = folder / quote(key, safe="")
    found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(BUCKET, key)
    if found is None:
        file.unlink(missing_ok=True)
        return
    partial = file.with_name(f".{file.name}")
    partial.write_bytes(found.value)
    partial.replace(file)
