"""The URL that names a farm's storage: a folder, or a bucket of an S3-compatible service."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

FILE_EXAMPLE = "file:///srv/farm"
S3_EXAMPLE = "s3://bucket/prefix?endpoint=https://s3.example:9000"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]*")
_OPTIONS = frozenset({"endpoint", "region", "style"})


@dataclass(frozen=True)
class FileLocation:
    """A folder, shared by all machines of a farm or used by one."""

    root: Path


@dataclass(frozen=True)
class S3Location:
    """A bucket and the prefix of its keys. Without `access_key` the usual sources of AWS credentials apply.

    `endpoint`: URL of the service, None for AWS. `path_style`: the bucket is in the path rather than in the host name.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool = True
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)


Location = FileLocation | S3Location


def parse_storage_url(url: str) -> Location:
    """Return the location. Raises ValueError saying what to write; no message quotes a part of the URL."""
    scheme, separator, _ = url.partition(":")
    if separator and scheme == "file":
        return _file(url)
    if separator and scheme == "s3" and url.startswith("s3://"):
        return _s3(url)
    raise ValueError(f"it names no folder and no bucket; write {FILE_EXAMPLE} or {S3_EXAMPLE}")


def _file(url: str) -> FileLocation:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or path == "/" or parts.query or parts.fragment:
        raise ValueError(f"a folder is an absolute path after three slashes; write {FILE_EXAMPLE}")
    return FileLocation(Path(path).resolve())


def _s3(url: str) -> S3Location:
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"it is not a URL; write {S3_EXAMPLE}") from None
    user, _, bucket = parts.netloc.rpartition("@")
    access_key, _, secret_key = user.partition(":")
    prefix = unquote(parts.path).strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"the name of the bucket is missing or not valid; write {S3_EXAMPLE}, and in a secret / as %2F")
    if not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/") or parts.fragment:
        raise ValueError("the prefix may have letters, digits and . _ - / only")
    if unknown := sorted(set(options) - _OPTIONS):
        raise ValueError(f"it has {len(unknown)} options that are not known; possible are endpoint, region and style")
    if any(len(values) != 1 for values in options.values()):
        raise ValueError("each option may be given once")
    if user and not (access_key and secret_key):
        raise ValueError("before @ stand the access key, a colon and the secret key, or nothing")
    return S3Location(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=_endpoint(options.get("endpoint", [None])[0]),
        region=options.get("region", [None])[0] or None,
        path_style=_is_path_style(options.get("style", ["path" if "endpoint" in options else "host"])[0]),
        access_key=unquote(access_key) or None,
        secret_key=unquote(secret_key) or None,
    )


def _endpoint(text: str | None) -> str | None:
    if text is None:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("the endpoint is an address such as https://s3.example:9000")
    return text.rstrip("/")


def _is_path_style(text: str | None) -> bool:
    if text not in ("path", "host"):
        raise ValueError("style is path (the bucket in the path) or host (the bucket in the host name)")
    return text == "path"
