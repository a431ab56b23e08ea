"""Uploads are deleted by age unless a job uses them, and counted for each owner."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from core.errors import Gone, InvalidInput, NotFound
from core.ids import new_id
from core.settings import Settings
from core.storage import LocalImageStore, image_key
from db import retention
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.read import list_jobs
from db.jobs.retry import retry
from db.jobs.submit import NewJob, insert_job
from db.retention import delete_job, delete_unused_uploads
from db.sql import now
from db.tables import Job, Tombstone, Upload
from db.uploads import NewUpload, add_upload, get_upload
from tests.integration.db.conftest import Submit
from worker.reaper.retention import ORPHAN_SECONDS, RetentionRound

HOUR = 3600.0
AddUpload = Callable[..., Upload]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Return settings that delete unused uploads after an hour."""
    return Settings(_env_file=None, data_dir=tmp_path / "data", database_url=database_url, keep_uploads_hours=1.0)


@pytest.fixture
def store(settings: Settings) -> LocalImageStore:
    """Return the store of uploads."""
    return LocalImageStore(settings.uploads_dir)


@pytest.fixture
def upload(database: Database, store: LocalImageStore) -> AddUpload:
    """Return a function that adds an upload of a given age, with its file."""

    def _upload(hours: float = 2.0, *, size: int = 9, limit: int = 0) -> Upload:
        upload_id = new_id()
        stored = store.put(image_key(upload_id, 0, 0), b"x" * size)
        new = NewUpload(upload_id, "ann", stored.key, 8, 8, stored.bytes, stored.sha256)
        add_upload(database, new, limit)
        with database.write() as session:
            session.execute(update(Upload).where(Upload.id == upload_id).values(created_at=now() - hours * HOUR))
        return get_upload(database, upload_id)

    return _upload


def used_by(upload: Upload, mask: Upload | None = None) -> dict[str, object]:
    masks = {"mask": {"upload_id": mask.id, "key": mask.key}} if mask else {}
    return {"seed": 1, "init_image": {"upload_id": upload.id, "key": upload.key}, **masks}


def sweep(settings: Settings) -> None:
    retention_round = RetentionRound(settings)
    retention_round.round()
    retention_round.close()


def test_unused_uploads_are_deleted_by_age(
    database: Database, settings: Settings, store: LocalImageStore, upload: AddUpload, submit_job: Submit
) -> None:
    old, young, queued, ended = upload(), upload(0.5), upload(), upload()
    submit_job(input=used_by(queued))
    job = request_cancel(database, submit_job(input=used_by(ended)).id)
    sweep(settings)
    assert set(store.iter_keys()) == {young.key, queued.key, ended.key}
    with pytest.raises(Gone) as caught:
        get_upload(database, old.id, "ann")
    assert caught.value.code == "upload_gone"
    with pytest.raises(NotFound):
        get_upload(database, old.id, "bob")
    # A job that has ended keeps its upload for a retry, until it is deleted itself.
    assert retry(database, job.id).upload_id == ended.id
    for each in (job.id, *_jobs_of(database, ended)):
        request_cancel(database, each)
        delete_job(database, each)
    sweep(settings)
    assert set(store.iter_keys()) == {young.key, queued.key}


def test_a_mask_is_kept_as_long_as_its_job(
    database: Database, settings: Settings, store: LocalImageStore, upload: AddUpload, submit_job: Submit
) -> None:
    image, mask = upload(), upload()
    job = request_cancel(database, submit_job(input=used_by(image, mask)).id)
    sweep(settings)
    assert set(store.iter_keys()) == {image.key, mask.key}
    again = request_cancel(database, retry(database, job.id).id)
    assert (again.upload_id, again.mask_upload_id) == (image.id, mask.id)
    for each in (job, again):
        delete_job(database, each.id)
    sweep(settings)
    assert list(store.iter_keys()) == []


def test_a_mask_that_a_submit_uses_at_this_moment_is_kept(database: Database, upload: AddUpload) -> None:
    image, mask = upload(), upload()
    new = NewJob(owner="ann", model="demo", prompt="a", input=dict(used_by(image, mask)))
    with ThreadPoolExecutor(1) as threads:
        with database.write() as session:
            insert_job(session, new)
            sweeping = threads.submit(delete_unused_uploads, database, 1.0)
            if not database.is_sqlite:
                assert sweeping.result(120) == []
        assert sweeping.result(120) == []


def test_a_job_cannot_be_submitted_without_its_mask(database: Database, upload: AddUpload, submit_job: Submit) -> None:
    image, mask = upload(), upload()
    with database.write() as session:
        session.execute(delete(Upload).where(Upload.id == mask.id))
    with pytest.raises(InvalidInput) as caught:
        submit_job(input=used_by(image, mask))
    assert (caught.value.code, caught.value.field) == ("upload_not_found", "mask")


def _jobs_of(database: Database, upload: Upload) -> list[str]:
    return [job.id for job in list_jobs(database, conditions=(Job.upload_id == upload.id, Job.retried_from.is_not(None)))]


def test_no_uploads_are_deleted_when_the_setting_is_0(settings: Settings, store: LocalImageStore, upload: AddUpload) -> None:
    kept = upload(1000.0)
    sweep(settings.model_copy(update={"keep_uploads_hours": 0.0}))
    assert list(store.iter_keys()) == [kept.key]


def test_more_uploads_than_one_batch_are_deleted(
    settings: Settings, store: LocalImageStore, upload: AddUpload, submit_job: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    used = [upload(9.0) for _ in range(3)]
    for each in used:
        submit_job(input=used_by(each))
    for _ in range(5):
        upload()
    sweep(settings)
    assert set(store.iter_keys()) == {each.key for each in used}


def test_a_sweep_that_is_killed_between_row_and_file_is_completed_later(
    database: Database, settings: Settings, store: LocalImageStore, upload: AddUpload
) -> None:
    gone, kept = upload(), upload(0.1)
    with database.write() as session:
        session.execute(delete(Upload).where(Upload.id == gone.id))
    sweep(settings)
    assert set(store.iter_keys()) == {gone.key, kept.key}, "its row may be about to be written"
    for key in (gone.key, kept.key):
        os.utime(store.path(key), (time.time() - ORPHAN_SECONDS - 9,) * 2)
    sweep(settings)
    assert list(store.iter_keys()) == [kept.key]


def test_an_upload_that_a_submit_uses_at_this_moment_is_kept(database: Database, upload: AddUpload) -> None:
    found = upload()
    new = NewJob(owner="ann", model="demo", prompt="a", input=dict(used_by(found)))
    with ThreadPoolExecutor(1) as threads:
        with database.write() as session:
            insert_job(session, new)
            sweeping = threads.submit(delete_unused_uploads, database, 1.0)
            if not database.is_sqlite:  # SQLite's sweep waits for the transaction
                assert sweeping.result(120) == []
        assert sweeping.result(120) == []
    assert get_upload(database, found.id).key == found.key


def test_a_job_cannot_be_submitted_or_retried_without_its_upload(
    database: Database, upload: AddUpload, submit_job: Submit
) -> None:
    found = upload()
    job = request_cancel(database, submit_job(input=used_by(found)).id)
    with database.write() as session:
        session.execute(delete(Upload))
    calls: list[Callable[[], object]] = [lambda: submit_job(input=used_by(found)), lambda: retry(database, job.id)]
    for call in calls:
        with pytest.raises(InvalidInput) as caught:
            call()
        assert (caught.value.code, caught.value.field) == ("upload_not_found", "init_image")


def test_an_owner_has_a_quota_also_for_calls_at_once(database: Database, upload: AddUpload) -> None:
    def add(_: int) -> bool:
        try:
            upload(0.0, size=100, limit=350)
        except InvalidInput as error:
            assert error.code == "upload_quota_exceeded"
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(add, range(16))) == 3
    with database.read() as session:
        assert len(session.scalars(select(Upload.id)).all()) == 3
        assert session.scalars(select(Tombstone.id)).all() == []
