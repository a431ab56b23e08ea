"""A client of an S3-compatible service: retries, time limits, and its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from core.errors import NotFound, RenderError, Unavailable
from core.storage_url import S3Location

_CONNECT_SECONDS, _READ_SECONDS = 5, 30
_TRIES = 4
"""Of one request, with pauses that double from about half a second; then the caller's own retries begin."""
_CONNECTIONS = 32
LINK_SECONDS = 600
_MISSING = frozenset({"NoSuchKey", "404"})
_REASONS = {
    "NoSuchBucket": "the bucket does not exist; create it or correct IMAGEFARM_STORAGE_URL",
    "AccessDenied": "access is denied; give the access key the rights to read, write, list and delete in the bucket",
    "403": "access is denied; give the access key the rights to read, write, list and delete in the bucket",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it by NTP",
    "BadDigest": "a checksum did not match: the data was damaged on its way",
    "XAmzContentSHA256Mismatch": "a checksum did not match: the data was damaged on its way",
    "QuotaExceeded": "its quota is used up",
    "XMinioStorageFull": "its disks are full",
}
_FAILURES = (ClientError, BotoCoreError, HTTPError, OSError)


@cache
def open_client(location: S3Location) -> Any:  # noqa: ANN401 -- boto3 makes its clients at run time
    """Return the one client of a location in this process; it is thread-safe and holds a pool of connections."""
    session = boto3.session.Session(
        aws_access_key_id=location.access_key,
        aws_secret_access_key=location.secret_key,
        region_name=location.region,
    )
    return session.client(
        "s3",
        endpoint_url=location.endpoint,
        region_name=location.region or session.region_name or "us-east-1",
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            max_pool_connections=_CONNECTIONS,
            signature_version="s3v4",
            s3={"addressing_style": "path" if location.path_style else "virtual"},
            # Checksums are sent as headers by the store: trailers are refused by some compatible services.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def error_code(error: Exception) -> str:
    """Return the service's code of an error, empty for one of the connection."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def describe(error: Exception) -> str:
    """Return the cause in plain words, without addresses and keys."""
    if isinstance(error, ClientError):
        code = error_code(error)
        return _REASONS.get(code, f"the service answered {code or 'with an error'}")
    name = type(error).__name__
    if name == "NoCredentialsError":
        return "no access key is set: write KEY:SECRET@ before the bucket in IMAGEFARM_STORAGE_URL, or set AWS_ACCESS_KEY_ID"
    return f"it does not answer ({name})"


@contextmanager
def writing() -> Iterator[None]:
    """Raise RenderError `storage_unavailable` for any failure inside, which makes the job retry later."""
    try:
        yield
    except _FAILURES as error:
        raise RenderError(f"The bucket did not accept the file: {describe(error)}.", code="storage_unavailable") from error


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Raise NotFound `image_file_missing` for a missing file, Unavailable `storage_unavailable` for any other failure."""
    try:
        yield
    except _FAILURES as error:
        if error_code(error) in _MISSING:
            raise NotFound(
                f"The file of this image is missing from the store: {key}. It was not deleted by imagefarm.",
                code="image_file_missing",
            ) from error
        raise Unavailable(f"The bucket cannot be read: {describe(error)}.", code="storage_unavailable") from error
