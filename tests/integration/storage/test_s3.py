"""Files in a bucket: what was stored is read back, damage is found, and an outage has a code that costs no attempt."""

from __future__ import annotations

import hashlib
import os

import pytest

from core.errors import NotFound, RenderError, Unavailable
from core.ids import new_id
from core.retries import rule_for
from core.storage import image_key
from core.storage_url import S3Location, parse_storage_url
from storage import s3_client
from storage.s3 import S3ImageStore
from tests.servers.s3 import BUCKET, S3Server

PART = 5 * 2**20


@pytest.fixture
def key() -> str:
    return image_key(new_id(), 1, 0)


def location_of(s3: S3Server, prefix: str = "one") -> S3Location:
    location = parse_storage_url(s3.url(prefix))
    assert isinstance(location, S3Location)
    return location


@pytest.fixture
def store(s3: S3Server) -> S3ImageStore:
    return S3ImageStore(location_of(s3), "images", part_bytes=PART)


def test_a_stored_file_is_read_back_and_deleted(store: S3ImageStore, s3: S3Server, key: str) -> None:
    stored = store.put(key, b"an image")
    assert (stored.bytes, stored.sha256) == (8, hashlib.sha256(b"an image").hexdigest())
    assert f"one/images/{key}" in s3.keys("one/images/")
    assert store.read(key) == store.read_reduced(key) == b"an image"
    store.put_reduced(key, b"small")
    assert store.read_reduced(key) == b"small"
    assert list(store.iter_keys()) == [key]
    assert store.delete(key) is True
    assert store.delete(key) is False
    assert not s3.keys("one/images/")


def test_a_missing_file_is_not_found(store: S3ImageStore, key: str) -> None:
    for read in (store.read, store.open, store.read_reduced):
        with pytest.raises(NotFound) as caught:
            read(key)
        assert caught.value.code == "image_file_missing"


def test_a_large_file_is_sent_in_parts_and_read_by_ranges(store: S3ImageStore, s3: S3Server, key: str) -> None:
    data = os.urandom(2 * PART + 17)
    stored = store.put_blocks(key, (data[at : at + 100_000] for at in range(0, len(data), 100_000)))
    assert (stored.bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert sum(request.startswith("PUT") for request in s3.requests) == 3
    file = store.open(key)
    assert file.size == len(data)
    assert b"".join(file.blocks()) == data
    assert b"".join(file.blocks(PART - 3, PART + 4)) == data[PART - 3 : PART + 4]
    assert store.delete(key)


def test_a_part_that_fails_leaves_nothing(store: S3ImageStore, s3: S3Server, key: str) -> None:
    started = False

    def refuse(request: str) -> bool:
        nonlocal started
        refused, started = started and request.startswith("PUT"), started or request.startswith("PUT")
        return refused

    s3.refuse = refuse
    with pytest.raises(RenderError, match="did not accept"):
        store.put(key, bytes(2 * PART))
    assert not s3.keys("one/images/")
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=BUCKET)


def test_uploads_of_killed_writers_are_swept(store: S3ImageStore, s3: S3Server, key: str) -> None:
    s3.client.create_multipart_upload(Bucket=BUCKET, Key=f"one/images/{key}")
    s3.client.put_object(Bucket=BUCKET, Key="one/images/.partial-probe-1", Body=b"x")
    s3.client.create_multipart_upload(Bucket=BUCKET, Key=f"two/images/{key}")
    assert list(store.iter_keys(3600)) == []
    assert store.sweep_partial(-60) == 2
    assert S3ImageStore(location_of(s3, "two"), "images").sweep_partial(-60) == 1


def test_damage_is_found_by_the_checksum(store: S3ImageStore, s3: S3Server, key: str) -> None:
    store.put(key, b"an image")
    head = s3.client.head_object(Bucket=BUCKET, Key=f"one/images/{key}")
    s3.client.put_object(Bucket=BUCKET, Key=f"one/images/{key}", Body=b"an imagE", Metadata=head["Metadata"])
    with pytest.raises(Unavailable, match="damaged"):
        store.read(key)
    with pytest.raises(Unavailable, match="damaged"):
        list(store.open(key).blocks())
    store.delete(key)


def test_a_request_that_fails_once_is_repeated(store: S3ImageStore, s3: S3Server, key: str) -> None:
    left = [True]
    s3.refuse = lambda request: bool(left) and left.pop()
    store.put(key, b"an image")
    assert sum(request.startswith("PUT") for request in s3.requests) == 2
    store.delete(key)


def test_an_outage_costs_no_attempt_and_ends(s3: S3Server, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_TRIES", 1)
    store = S3ImageStore(location_of(s3, "outage"), "images")
    s3.refuse = lambda request: True
    for write in (lambda: store.put(key, b"x"), store.check_writable, lambda: store.delete(key)):
        with pytest.raises(RenderError, match=r"ServiceUnavailable|with an error|503") as caught:
            write()
        assert caught.value.code == "storage_unavailable"
        assert not rule_for(caught.value.code).costs_attempt
    with pytest.raises(Unavailable) as unread:
        store.read(key)
    assert unread.value.code == "storage_unavailable"
    assert not store.is_there()
    s3.refuse = lambda request: False
    store.check_writable()
    assert store.is_there()
    assert not s3.keys("outage/")


def test_a_bucket_that_is_not_there_is_named_as_the_cause(s3: S3Server, key: str) -> None:
    location = parse_storage_url(s3.url().replace(f"@{BUCKET}/", "@other-bucket/"))
    assert isinstance(location, S3Location)
    with pytest.raises(RenderError, match=r"the bucket does not exist; create it") as caught:
        S3ImageStore(location, "images").put(key, b"x")
    assert "secret" not in str(caught.value)


def test_nothing_listens_there(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_TRIES", 1)
    with pytest.raises(RenderError, match=r"it does not answer \(EndpointConnectionError\)"):
        S3ImageStore(S3Location("farm", endpoint="http://127.0.0.1:9", access_key="a", secret_key="b"), "images").put(
            key, b"x"
        )
