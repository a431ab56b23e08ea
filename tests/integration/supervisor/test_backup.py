"""`imagefarm backup` of a farm that runs, and `imagefarm restore` into another place."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.faults.parts import FarmParts
from cli.exit_codes import ExitCode, exit_code_for
from core.errors import FarmError, InvalidInput, NotFound
from core.ids import new_id
from core.settings import Settings
from core.storage import LocalImageStore, image_key
from db import migrate
from db.backup import BackupFailed
from db.database import Database
from db.uploads import NewUpload, add_upload
from supervisor.backup import create
from supervisor.backup_contents import file_sha256
from supervisor.restore import restore
from tests.conftest import Migrate
from tests.e2e.waiting import submit, wait_settled
from tests.integration.farm.conftest import running_parts
from tests.servers.farm import SYNTHETIC, clean_environment, running_farm
from tests.servers.forked_parts import fork_part, run_command
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

SMALL = {"model": "demo", "width": 64, "height": 64, "num_inference_steps": 2, "seed": 1}
KNOWN_ENTRIES = {
    *("imagefarm.db", "imagefarm.db-wal", "imagefarm.db-shm", "imagefarm.db-turns", "imagefarm.lock", "redis", "logs"),
    *("models", "workers"),
    *("images", "uploads", "node"),
}
"""Everything a farm keeps, and a decision about each: the first two lines are left out of the files, the third is copied."""


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    done = run_command(*words, environment=clean_environment(**environment), cwd=Path.cwd())
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert "should not have happened" not in done.stderr, done.stderr
    return done


def send_picture(api: str, color: str) -> str:
    """Id of an upload."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    answer = httpx.post(f"{api}/v1/uploads", content=buffer.getvalue(), headers={"content-type": "image/png"})
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def pause_worker(api: str, action: str) -> None:
    """`pause` or `resume` the only worker."""
    (worker,) = httpx.get(f"{api}/v1/workers").json()["items"]
    assert httpx.post(f"{api}/v1/workers/{worker['name']}/{action}").is_success


def fill_queue(api: str, stop_claims: Callable[[], object]) -> list[str]:
    """Ids of one finished job and, after `stop_claims`, of two image-to-image jobs and a plain one that wait."""
    done = submit(api, prompt="done", **SMALL)["id"]
    assert wait_settled(api, done)["status"] == "succeeded"
    stop_claims()
    waiting = [
        submit(api, prompt="from a picture", init_image=send_picture(api, color), strength=0.5, **SMALL)["id"]
        for color in ("red", "blue")
    ]
    waiting.append(submit(api, prompt="plain", **SMALL)["id"])
    return [done, *waiting]


def check_restored(api: str, ids: list[str]) -> None:
    """Check that the finished job kept its image and that every queued job renders."""
    jobs = [wait_settled(api, job_id) for job_id in ids]
    assert [job["status"] for job in jobs] == ["succeeded"] * len(ids), jobs
    assert [job["attempt"] for job in jobs] == [1] * len(ids), "the finished job stays as it was"
    for job_id in ids:
        (output,) = httpx.get(f"{api}/v1/jobs/{job_id}").json()["outputs"]
        assert httpx.get(f"{api}/v1/images/{output['id']}/content").content.startswith(b"\x89PNG")


def check_private(directory: Path) -> None:
    """Nobody but the owner can read any of it."""
    for path in (directory, *directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_restored_queue_renders(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with running_farm(tmp_path / "first", "--model", "demo", "--device", "cpu", **SYNTHETIC) as farm:
        ids = fill_queue(farm.api, lambda: pause_worker(farm.api, "pause"))
        [worker] = [row["name"] for row in httpx.get(f"{farm.api}/v1/workers").json()["items"]]
        assert {entry.name for entry in farm.data_dir.iterdir()} <= KNOWN_ENTRIES
        made = run("backup", str(copy), "--json", IMAGEFARM_DATA_DIR=str(farm.data_dir))
        assert made.returncode == ExitCode.OK, made.stderr
        result = json.loads(made.stdout)
        assert result["database"]["rows"] == {"jobs": 4, "queued": 3, "images": 1, "uploads": 2}
        assert (result["missing"], result["files"]["count"]) == ([], 4)  # an image, two uploads, the node's name
        check_private(copy)
        assert {path.name for path in (copy / "data").iterdir()} == {"images", "uploads", "node"}
        refused = run("restore", str(copy), "--data-dir", str(farm.data_dir))
        assert refused.returncode == ExitCode.ALREADY_RUNNING
        assert f"process {farm.process.pid}" in refused.stderr
        assert farm.interrupt() == ExitCode.OK
    shutil.rmtree(tmp_path / "first")
    target = tmp_path / "second" / "farm" / "data"
    restored = run("restore", str(copy), "--data-dir", str(target))
    assert restored.returncode == ExitCode.OK, restored.stderr
    assert "Restored 4 jobs (3 queued), 1 image and 2 uploads" in restored.stdout
    assert not list(target.rglob("*partial*"))
    with restored_farm(tmp_path / "second", worker) as farm:
        states = [httpx.get(f"{farm.url}/v1/jobs/{job_id}").json()["status"] for job_id in ids]
        assert states == ["succeeded", "queued", "queued", "queued"], "a worker that was paused stays so"
        pause_worker(farm.url, "resume")
        check_restored(farm.url, ids)


@contextmanager
def restored_farm(directory: Path, worker: str) -> Iterator[FarmParts]:
    """Yield a farm run in parts over the restored data, whose worker has this name and was paused."""
    redis = RedisServer(directory / "redis").start()
    database = f"sqlite:///{directory / 'farm' / 'data' / 'imagefarm.db'}"
    farm = FarmParts(directory / "farm", database, redis, launch=fork_part)
    farm.parts["worker0"].environment["IMAGEFARM_WORKER_NAME"] = worker
    try:
        for part in farm.parts.values():
            part.start()
        while not is_live(farm, worker):
            time.sleep(0.1)
        yield farm
    finally:
        farm.destroy()
        redis.stop()


def is_live(farm: FarmParts, worker: str) -> bool:
    """Return whether the API answers and this worker, paused or not, has registered its process."""
    lock = farm.directory / "data" / "workers" / f"{worker}.lock"
    process = farm.parts["worker0"].process
    try:
        answers = httpx.get(f"{farm.url}/healthz", timeout=5).is_success
        return answers and process is not None and json.loads(lock.read_text())["pid"] == process.pid
    except (httpx.HTTPError, OSError, ValueError):
        return False


@contextmanager
def postgres_farm(directory: Path, url: str) -> Iterator[FarmParts]:
    """Yield a farm run in parts on this database, with a Redis server for it alone."""
    migrate.upgrade(url)
    with running_parts(directory, url, 1, {}) as farm:
        yield farm


def test_a_restored_queue_renders_on_postgres(tmp_path: Path, postgres_server: PostgresServer) -> None:
    first, second = postgres_server.create_database(), postgres_server.create_database()
    path = f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}"
    copy = tmp_path / "copy"
    with postgres_farm(tmp_path / "first", first) as farm:
        ids = fill_queue(farm.url, farm.parts["worker0"].stop)
        settings = {"IMAGEFARM_DATA_DIR": str(farm.directory / "data"), "IMAGEFARM_DATABASE_URL": first, "PATH": path}
        made = run("backup", str(copy), **settings)
        assert made.returncode == ExitCode.OK, made.stderr
        assert "4 jobs (3 queued)" in made.stdout
        check_private(copy)
        again = run("restore", str(copy), **settings)
        assert (again.returncode, "already holds a farm" in again.stderr) == (ExitCode.FAILED, True)
    target = tmp_path / "second" / "farm" / "data"
    settings = {"IMAGEFARM_DATA_DIR": str(target), "IMAGEFARM_DATABASE_URL": second, "PATH": path}
    restored = run("restore", str(copy), **settings)
    assert restored.returncode == ExitCode.OK, restored.stderr
    with postgres_farm(tmp_path / "second", second) as farm:
        check_restored(farm.url, ids)


def test_without_pg_dump_the_files_are_copied_and_the_rest_is_said(tmp_path: Path, fresh_postgres: str) -> None:
    migrate.upgrade(fresh_postgres)
    upload = add_file(tmp_path / "data", fresh_postgres)
    settings = {"IMAGEFARM_DATA_DIR": str(tmp_path / "data"), "IMAGEFARM_DATABASE_URL": fresh_postgres}
    nothing = tmp_path / "empty"
    nothing.mkdir()
    made = run("backup", str(tmp_path / "copy"), PATH=str(nothing), **settings)
    assert made.returncode == ExitCode.FAILED
    assert (tmp_path / "copy" / "data" / "uploads" / upload).is_file()
    assert "pg_dump is not in PATH" in made.stderr
    assert (
        f'pg_dump --format=custom --no-owner --no-privileges --file="{tmp_path / "copy" / "database.dump"}"' in made.stderr
    )


def add_file(data_dir: Path, url: str) -> str:
    """Return the key of an upload whose file and row exist."""
    upload_id = new_id()
    stored = LocalImageStore(data_dir / "uploads").put(image_key(upload_id, 0, 0), b"a picture")
    database = Database(url)
    try:
        add_upload(database, NewUpload(upload_id, "anna", stored.key, 8, 8, stored.bytes, stored.sha256))
    finally:
        database.dispose()
    return stored.key


@pytest.fixture
def data_dir(tmp_path: Path, migrate: Migrate) -> Path:
    """Of a farm on SQLite that does not run, with two uploads."""
    directory = tmp_path / "data"
    directory.mkdir()
    url = f"sqlite:///{directory / 'imagefarm.db'}"
    migrate(url)
    for _ in range(2):
        add_file(directory, url)
    return directory


@pytest.fixture
def copy(tmp_path: Path, data_dir: Path) -> Path:
    """Make a backup of it."""
    create(Settings(data_dir=data_dir), tmp_path / "copy", lambda *_: None)
    return tmp_path / "copy"


def test_a_file_that_is_gone_is_listed(tmp_path: Path, data_dir: Path) -> None:
    gone = next((data_dir / "uploads").rglob("*.png"))
    gone.unlink()
    made = run("backup", str(tmp_path / "copy"), "--data-dir", str(data_dir))
    assert made.returncode == ExitCode.OK
    assert "1 file that the database names could not be found" in made.stderr
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    assert manifest["missing"] == [gone.relative_to(data_dir).as_posix()]


def test_targets_that_cannot_be_used(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    (tmp_path / "busy.partial").mkdir()
    for target, words, code in (
        (tmp_path / "full", "is not empty", ExitCode.USAGE),
        (data_dir / "copy", "inside the data directory", ExitCode.USAGE),
        (tmp_path / "busy", "another backup is at work there", ExitCode.FAILED),
    ):
        with pytest.raises(FarmError, match=words) as refused:
            create(Settings(data_dir=data_dir), target, lambda *_: None)
        assert exit_code_for(refused.value) == code
    with pytest.raises(NotFound, match="There is no database"):
        create(Settings(data_dir=tmp_path / "nowhere"), tmp_path / "copy", lambda *_: None)
    assert not (tmp_path / "copy").exists()


def test_a_damaged_database_leaves_no_backup(tmp_path: Path, data_dir: Path) -> None:
    with (data_dir / "imagefarm.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    made = run("backup", str(tmp_path / "copy"), "--data-dir", str(data_dir))
    assert made.returncode == ExitCode.FAILED
    assert "database" in made.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def set_manifest(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the backup says of itself."""
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))


def cut_database(copy: Path) -> None:
    with (copy / "database.sqlite").open("r+b") as file:
        file.truncate(8192)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda copy: (copy / "manifest.json").unlink(), "is not a backup"),
    "no JSON": (lambda copy: (copy / "manifest.json").write_text("{half"), "is damaged"),
    "newer version": (lambda copy: set_manifest(copy, lambda found: found.update(version=2)), "newer imagefarm"),
    "newer schema": (
        lambda copy: set_manifest(copy, lambda found: found["database"].update(revision="0099")),
        "schema 0099",
    ),
    "other engine": (
        lambda copy: set_manifest(copy, lambda found: found["database"].update(engine="postgresql")),
        "same kind",
    ),
    "cut database": (cut_database, "checksum"),
    "lost database": (lambda copy: (copy / "database.sqlite").unlink(), "lacks the database"),
    "lost file": (lambda copy: next((copy / "data").rglob("*.png")).unlink(), "is incomplete"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_no_whole_backup_is_refused_in_one_line(tmp_path: Path, copy: Path, kind: str) -> None:
    spoil, words = SPOILT[kind]
    spoil(copy)
    with pytest.raises(InvalidInput, match=words) as refused:
        restore(Settings(data_dir=tmp_path / "new"), copy, lambda *_: None)
    assert exit_code_for(refused.value) == ExitCode.USAGE
    assert "\n" not in refused.value.message
    assert not list((tmp_path / "new").glob("*"))


def test_nothing_that_exists_is_replaced(copy: Path, data_dir: Path) -> None:
    before = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    refused = run("restore", str(copy), "--data-dir", str(data_dir))
    assert (refused.returncode, "already holds a farm" in refused.stderr) == (ExitCode.FAILED, True)
    for file in data_dir.glob("imagefarm.db*"):
        file.unlink()
    refused = run("restore", str(copy), "--data-dir", str(data_dir))
    assert (refused.returncode, "already holds uploads" in refused.stderr) == (ExitCode.FAILED, True), refused.stderr
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix == ".png")
    shutil.rmtree(data_dir / "uploads")
    assert run("restore", str(copy), "--data-dir", str(data_dir)).returncode == ExitCode.OK
    assert all(path.exists() for path in before if path.suffix in (".png", ".db"))


def test_an_image_folder_on_another_disk_is_filled(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "uploads").symlink_to(tmp_path / "disk")
    restored = run("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert restored.returncode == ExitCode.OK, restored.stderr
    assert (tmp_path / "new" / "uploads").is_symlink()
    assert len(list((tmp_path / "disk").rglob("*.png"))) == 2
    second = run("backup", str(tmp_path / "second"), "--data-dir", str(tmp_path / "new"), "--json")
    assert json.loads(second.stdout)["files"]["count"] == 2


def test_a_load_that_fails_leaves_nothing_behind(
    tmp_path: Path, postgres_server: PostgresServer, fresh_postgres: str
) -> None:
    migrate.upgrade(fresh_postgres)
    add_file(tmp_path / "data", fresh_postgres)
    tools = {"PATH": f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}"}
    copy, new = tmp_path / "copy", tmp_path / "new"
    made = run("backup", str(copy), "--data-dir", str(tmp_path / "data"), IMAGEFARM_DATABASE_URL=fresh_postgres, **tools)
    assert made.returncode == ExitCode.OK, made.stderr
    (copy / "database.dump").write_bytes(b"PGDMP and nothing else")
    set_manifest(copy, lambda found: found["database"].update(sha256=file_sha256(copy / "database.dump")))
    empty = postgres_server.create_database()
    refused = run("restore", str(copy), "--data-dir", str(new), IMAGEFARM_DATABASE_URL=empty, **tools)
    assert refused.returncode == ExitCode.FAILED
    assert "pg_restore failed" in refused.stderr
    assert not [path for path in new.rglob("*") if path.is_file() and path.name != "imagefarm.lock"]


def test_too_little_space_is_said_before_anything_is_written(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(BackupFailed, match="Not enough space"):
        create(Settings(data_dir=data_dir), tmp_path / "copy", lambda *_: None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
