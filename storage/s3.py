"""Store image files in an S3-compatible bucket, with checksums of every request and multipart uploads of large files."""

from __future__ import annotations

import base64
import hashlib
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from core.errors import NotFound, Unavailable
from core.storage.local import PROBE_BYTES, MalformedKey, StoredFile, check_key
from core.storage_url import S3Location
from storage.s3_client import LINK_SECONDS, error_code, open_client, reading, writing

PART_BYTES = 16 * 2**20
"""Files above this are sent in parts of this size; S3 allows 5 MiB to 5 GiB and 10,000 parts."""
BLOCK_BYTES = 2**18
_REDUCED = ".reduced"
_PROBE = ".partial-probe-"
_DIGEST = "sha256"
"""Name of the metadata that holds the file's SHA-256 in hex."""


class S3ImageStore:
    """Files of one part, `images` or `uploads`, under the location's prefix. Thread-safe; connects at the first call.

    A request of a file carries its SHA-256, which the service checks; the file keeps it, and reads check it again.
    """

    def __init__(self, location: S3Location, part: str, *, presign: bool = False, part_bytes: int = PART_BYTES) -> None:
        self._client = open_client(location)
        self._bucket = location.bucket
        self._prefix = f"{location.prefix}{part}/"
        self._presign = presign
        self._part_bytes = part_bytes

    def put(self, key: str, data: bytes) -> StoredFile:
        """Store `data`; see ImageStore."""
        return self.put_blocks(key, [data])

    def put_blocks(self, key: str, blocks: Iterable[bytes]) -> StoredFile:
        """Store the blocks as one file; a file larger than a part waits on this machine's disk meanwhile."""
        return self._put(self._name(key), key, blocks)

    def put_reduced(self, key: str, data: bytes) -> None:
        """Store a reduced copy; see ImageStore."""
        self._put(self._name(key) + _REDUCED, key, [data])

    def read_reduced(self, key: str) -> bytes:
        """Return the reduced copy, else the file; see ImageStore."""
        try:
            reduced = self.find_reduced(key)
        except Unavailable:  # the file itself says what is wrong
            reduced = None
        return self.read(key) if reduced is None else reduced

    def find_reduced(self, key: str) -> bytes | None:
        """Return the reduced copy; see ImageStore."""
        try:
            return self._read(self._name(key) + _REDUCED, key)
        except NotFound:
            return None

    def stat(self, key: str) -> StoredFile | None:
        """Return size and SHA-256; a file that another program stored is read for its SHA-256."""
        try:
            file = self.open(key)
        except NotFound:
            return None
        return StoredFile(key=key, bytes=file.size, sha256=file.digest or hashlib.sha256(self.read(key)).hexdigest())

    def check_writable(self) -> None:
        """Write and delete a file of PROBE_BYTES; see ImageStore."""
        name = f"{self._prefix}{_PROBE}{secrets.token_hex(8)}"
        with writing():
            self._put_whole(name, bytes(PROBE_BYTES), hashlib.sha256(bytes(PROBE_BYTES)).hexdigest())
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def is_there(self) -> bool:
        """Return whether the bucket exists and answers."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except Exception:  # noqa: BLE001 -- any failure means that it cannot be used
            return False
        return True

    def read(self, key: str) -> bytes:
        """Return the content; see ImageStore. Raises Unavailable, too, for content that differs from its checksum."""
        return self._read(self._name(key), key)

    def open(self, key: str) -> S3File:
        """Open the file: its size is known, its content is fetched by `blocks`."""
        name = self._name(key)
        with reading(key):
            found = self._client.head_object(Bucket=self._bucket, Key=name)
        return S3File(self, name, key, found)

    def local_path(self, key: str) -> Path | None:
        """Return None: nothing is on this machine."""
        check_key(key)
        return None

    def delete(self, key: str) -> bool:
        """Delete the file and its reduced copy; see ImageStore."""
        name = self._name(key)
        with writing():
            existed = True
            try:
                self._client.head_object(Bucket=self._bucket, Key=name)
            except Exception as error:
                if error_code(error) not in ("404", "NoSuchKey"):
                    raise
                existed = False
            self._client.delete_object(Bucket=self._bucket, Key=name + _REDUCED)
            self._client.delete_object(Bucket=self._bucket, Key=name)
        return existed

    def iter_keys(self, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Yield keys by the service's time of last change; see ImageStore."""
        latest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        for entry in self._entries():
            if entry["LastModified"] <= latest:
                with suppress(MalformedKey):
                    yield check_key(entry["Key"][len(self._prefix) :])

    def sweep_partial(self, older_than_seconds: float = 3600.0) -> int:
        """Abort multipart uploads, and delete probes, that killed writers left."""
        latest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        swept = 0
        with writing():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for upload in (each for page in pages for each in page.get("Uploads", ())):
                if upload["Initiated"] <= latest:
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    swept += 1
        for entry in self._entries(_PROBE):
            if entry["LastModified"] <= latest:
                with writing():
                    self._client.delete_object(Bucket=self._bucket, Key=entry["Key"])
                swept += 1
        return swept

    def range_of(self, name: str, key: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of an object from `start` to before `end`; for S3File."""
        if end <= start:
            return
        with reading(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=name, Range=f"bytes={start}-{end - 1}")
            body = answer["Body"]
            try:
                left = end - start
                while left and (block := body.read(min(BLOCK_BYTES, left))):
                    left -= len(block)
                    yield block
            finally:
                body.close()
        if left:
            raise Unavailable("The bucket ended the file too early.", code="storage_unavailable")

    def link_to(self, name: str, *, media_type: str, file_name: str | None) -> str | None:
        """Return a link to an object that is valid for LINK_SECONDS; None unless links are wanted."""
        if not self._presign:
            return None
        wanted = {"Bucket": self._bucket, "Key": name, "ResponseContentType": media_type}
        if file_name is not None:
            wanted["ResponseContentDisposition"] = f'attachment; filename="{file_name}"'
        return str(self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=LINK_SECONDS))

    def link_origin(self) -> str | None:
        """Return scheme, host and port of links; None unless links are wanted."""
        link = self.link_to("x", media_type="image/png", file_name=None)
        return link and "{0.scheme}://{0.netloc}".format(urlsplit(link))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _entries(self, below: str = "") -> Iterator[dict[str, Any]]:
        with reading(below or "all"):
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + below
            ):
                yield from page.get("Contents", ())

    def _read(self, name: str, key: str) -> bytes:
        with reading(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            with answer["Body"] as body:
                data: bytes = body.read()
        _check_digest(hashlib.sha256(data).hexdigest(), answer.get("Metadata", {}).get(_DIGEST), key)
        return data

    def _put(self, name: str, key: str, blocks: Iterable[bytes]) -> StoredFile:
        digest, size = hashlib.sha256(), 0
        with writing(), tempfile.SpooledTemporaryFile(self._part_bytes) as file:
            for block in blocks:
                digest.update(block)
                size += len(block)
                file.write(block)
            file.seek(0)
            if size <= self._part_bytes:
                self._put_whole(name, file.read(), digest.hexdigest())
            else:
                self._put_parts(name, file, digest.hexdigest())
        return StoredFile(key=key, bytes=size, sha256=digest.hexdigest())

    def _put_whole(self, name: str, data: bytes, digest: str) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=name,
            Body=data,
            Metadata={_DIGEST: digest},
            ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
        )

    def _put_parts(self, name: str, file: IO[bytes], digest: str) -> None:
        """Send a file in parts; nothing appears under its name until all are there."""
        target = {"Bucket": self._bucket, "Key": name}
        upload = self._client.create_multipart_upload(**target, Metadata={_DIGEST: digest}, ChecksumAlgorithm="SHA256")
        target["UploadId"] = upload["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            while data := file.read(self._part_bytes):
                checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
                number = len(parts) + 1
                answer = self._client.upload_part(**target, PartNumber=number, Body=data, ChecksumSHA256=checksum)
                parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
            self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(Exception):  # what is left is aborted by `sweep_partial`
                self._client.abort_multipart_upload(**target)
            raise


class S3File:
    """A file in a bucket; see RemoteFile."""

    def __init__(self, store: S3ImageStore, name: str, key: str, head: dict[str, Any]) -> None:
        self._store, self._name, self._key = store, name, key
        self.digest: str | None = head.get("Metadata", {}).get(_DIGEST)
        self.size = int(head["ContentLength"])
        self.modified_at = float(head["LastModified"].timestamp())

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `end`; a whole file that differs from its checksum ends in Unavailable."""
        end = self.size if end is None else min(end, self.size)
        digest = hashlib.sha256()
        for block in self._store.range_of(self._name, self._key, start, end):
            digest.update(block)
            yield block
        if start == 0 and end == self.size:
            _check_digest(digest.hexdigest(), self.digest, self._key)

    def link(self, *, media_type: str, file_name: str | None) -> str | None:
        """Return a link to the file; see RemoteFile."""
        return self._store.link_to(self._name, media_type=media_type, file_name=file_name)

    def close(self) -> None:
        """Do nothing: connections belong to the reads."""


def _check_digest(found: str, expected: str | None, key: str) -> None:
    if expected is not None and found != expected:
        raise Unavailable(
            f"The file in the bucket is damaged, its checksum is not the one it was stored with: {key}.",
            code="storage_unavailable",
        )
