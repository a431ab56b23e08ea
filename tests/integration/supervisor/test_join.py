"""A machine joins by one line, checks what it needs, runs a worker for its device, and leaves when it is removed."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, text

from api.own_package import PACKAGES
from cli.exit_codes import ExitCode
from core.errors import FarmError, InvalidInput, NotFound
from core.join import JoinAddresses
from core.schemas.nodes import JoinAnswer
from core.settings import Settings
from core.version import VERSION
from db.database import Database
from db.join_tokens import create_token
from db.tables import JoinToken
from imagefarm import ImageFarm
from supervisor import join, node
from tests.conftest import Migrate
from tests.integration.api.running import serving
from tests.integration.farm.client import wait_until
from tests.servers.farm import ROOT, SYNTHETIC, clean_environment
from tests.servers.forked_parts import run_command
from tests.servers.ports import free_port
from tests.servers.redis import RedisServer


@pytest.fixture(scope="module")
def farm_settings(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, migrate: Migrate) -> Settings:
    directory = tmp_path_factory.mktemp("control")
    url = f"sqlite:///{directory / 'api.db'}"
    migrate(url)
    (directory / "data" / "images").mkdir(parents=True)
    given = {"data_dir": directory / "data", "database_url": url, "redis_url": redis_server.url}
    return Settings.model_validate({"_env_file": None, **given, "join_url": "https://farm.example"})


@pytest.fixture(scope="module")
def database(farm_settings: Settings) -> Iterator[Database]:
    opened = Database(farm_settings.database_url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def address(farm_settings: Settings) -> Iterator[str]:
    with serving(farm_settings) as url:
        yield url


def body_of(token: str, **changes: str) -> dict[str, str]:
    return {"token": token, "node": "box", "version": VERSION, **changes}


def environment_of(settings: Settings) -> dict[str, str]:
    return clean_environment(IMAGEFARM_DATABASE_URL=settings.database_url, IMAGEFARM_REDIS_URL=settings.redis_url)


def test_the_printed_line_works_once(farm_settings: Settings, address: str) -> None:
    environment = environment_of(farm_settings)
    done = run_command(
        "join-command", "--installed", "--url", address, environment=environment, cwd=farm_settings.data_dir.parent
    )
    assert done.returncode == 0, done.stderr
    assert "of this machine only" in done.stderr
    token = re.fullmatch(rf"imagefarm join {re.escape(address)} (ifj_\S+)\n", done.stdout)
    assert token is not None
    first, second = (httpx.post(f"{address}/v1/join", json=body_of(token[1])) for _ in range(2))
    assert first.status_code == 200 and first.headers["cache-control"] == "no-store"
    assert first.json()["database_url"] == farm_settings.database_url
    assert (second.status_code, second.json()["code"]) == (403, "join_token_invalid")


def test_the_line_installs_the_farms_version_and_runs_join(farm_settings: Settings, address: str, tmp_path: Path) -> None:
    """Requirements are not installed: pip gets the wheel alone, and the interpreter of the tests finds them."""
    environment = environment_of(farm_settings)
    done = run_command("join-command", "--url", address, environment=environment, cwd=farm_settings.data_dir.parent)
    line = done.stdout.strip()
    assert re.fullmatch(rf"\(curl -fsS {re.escape(address)}/v1/join/install \|\| echo exit 1\) \| sh -s -- ifj_\S+", line)
    home = tmp_path / "box"
    environment = clean_environment(
        HOME=str(tmp_path),
        IMAGEFARM_HOME=str(home),
        PIP_NO_DEPS="1",
        PIP_NO_INDEX="1",
        PIP_NO_COMPILE="1",
        PYTHONPATH=":".join(sys.path),
    )

    def run() -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", f"{line} --check --device cpu"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This machine can work for the farm on cpu." in done.stdout
    assert "Installing collected packages" in done.stderr, "who waits for gigabytes sees nothing of them"
    assert stat.S_IMODE((home / "data" / join.FILE_NAME).stat().st_mode) == 0o600
    [package] = home.glob(".venv/lib/python*/site-packages/imagefarm-*.dist-info")
    assert (package.parent / "api" / "join_install.sh").is_file() and (home / ".venv/bin/imagefarm").is_file()
    again = run()
    assert again.returncode == 1 and "unknown, expired or was used before" in again.stderr
    shutil.rmtree(home / ".venv")
    missing = run()
    assert missing.returncode == 1 and "the farm answered 403" in missing.stderr
    assert not (home / ".venv").exists()
    line = line.replace(address, f"http://127.0.0.1:{free_port()}")
    away = run()
    assert away.returncode == 1 and "curl: (7)" in away.stderr


def test_the_script_behind_a_proxy_keeps_to_the_join_address(address: str) -> None:
    for host, farm in {"farm.example": "https://farm.example", address.partition("//")[2]: address}.items():
        answer = httpx.get(f"{address}/v1/join/install", headers={"Host": host})
        assert (answer.status_code, f"\nfarm={farm}\n" in answer.text) == (200, True)
    assert httpx.get(f"{address}/v1/join/install", headers={"Host": "evil.example"}).status_code == 403


def test_the_package_is_handed_out_for_a_token_only(database: Database, address: str) -> None:
    for path in ("package", "constraints"):
        for refused in ({}, {"Authorization": "Bearer ifj_x"}, {"Authorization": "Basic eDp5"}):
            answer = httpx.get(f"{address}/v1/join/{path}", headers=refused)
            assert (answer.status_code, answer.json()["code"]) == (403, "join_token_invalid")
    headers = {"Authorization": f"Bearer {create_token(database, 3600.0)}"}
    assert "torch==" in httpx.get(f"{address}/v1/join/constraints", headers=headers).text
    script = httpx.get(f"{address}/v1/join/install")
    assert script.headers["cache-control"] == "no-store" and "@" not in script.text.replace('"$@"', "")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(listed) == list(PACKAGES)


def test_a_token_is_stored_hashed_and_expires(database: Database, address: str) -> None:
    secret = create_token(database, 3600.0).rpartition("_")[2]
    with database.read() as session:
        rows = [str(vars(row)) for row in session.scalars(select(JoinToken))]
    assert rows and not any(secret in row for row in rows)
    for bad in (create_token(database, -1.0), "ifj_x", f"ifj_{'0' * 12}_{'x' * 43}"):
        answer = httpx.post(f"{address}/v1/join", json=body_of(bad))
        assert (answer.status_code, answer.json()["code"]) == (403, "join_token_invalid")


def test_another_release_is_refused_and_keeps_its_token(database: Database, address: str) -> None:
    token = create_token(database, 3600.0)
    answer = httpx.post(f"{address}/v1/join", json=body_of(token, version="77.1"))
    assert (answer.status_code, answer.json()["code"]) == (409, "version_mismatch")
    assert "77.1" in answer.json()["detail"]
    assert httpx.post(f"{address}/v1/join", json=body_of(token)).status_code == 200


class Joined:
    """One `imagefarm join`; its output is collected line by line."""

    def __init__(self, data_dir: Path, *words: str) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "join", *words, "--device", "cpu", "--data-dir", str(data_dir)],
            cwd=data_dir.parent,
            env=clean_environment(**SYNTHETIC, IMAGEFARM_NODE_NAME="box", IMAGEFARM_MODEL="demo"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def wait_for(self, text: str, seconds: float = 200.0) -> None:
        with self._changed:
            self._changed.wait_for(lambda: any(text in line for line in self.lines) or not self._reader.is_alive(), seconds)
        assert any(text in line for line in self.lines), "".join(self.lines)


def test_a_joined_machine_works_and_leaves_when_it_is_removed(
    database: Database, address: str, tmp_path: Path, farm_settings: Settings
) -> None:
    joined = Joined(tmp_path / "data", address, create_token(database, 3600.0))
    try:
        joined.wait_for("worker box-cpu serves demo")
        file = tmp_path / "data" / join.FILE_NAME
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with ImageFarm(address) as farm:
            wait_until(lambda: [node.state for node in farm.nodes.list().items] == ["ready"])
            [found] = farm.nodes.list().items
            assert (found.name, [worker.name for worker in found.workers]) == ("box", ["box-cpu"])
            assert found.versions == [VERSION]
            job = farm.wait(farm.submit("a cat", width=64, height=64), timeout_seconds=200)
            assert job.status == "succeeded"
            assert len(list(farm_settings.images_dir.rglob("*.png"))) == 1
            assert farm.nodes.drain("box").state == "drained"
            assert farm.nodes.resume("box").state in ("ready", "busy")
            assert farm.nodes.remove("box").stopping == ["box-cpu"]
            assert joined.process.wait(200) == 0
            joined.wait_for("is not started again")
            assert farm.nodes.remove("box").removed == ["box-cpu"]
            assert farm.nodes.list().items == []
    finally:
        joined.close()


def test_a_folder_that_is_not_shared_is_noticed(
    database: Database, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = httpx.post(f"{address}/v1/join", json=body_of(create_token(database, 3600.0))).json()
    changed = JoinAnswer.model_validate(answer | {"storage_url": (tmp_path / "other").as_uri()})
    with pytest.raises(NotFound, match="is not the folder in which the farm stores images"):
        join._check_folder(changed)


def test_each_fault_is_one_sentence(farm_settings: Settings, database: Database, address: str, tmp_path: Path) -> None:
    environment = clean_environment()
    unknown = run_command("join", address, "ifj_x", "--device", "cpu", environment=environment, cwd=tmp_path)
    assert unknown.returncode == ExitCode.FAILED
    assert unknown.stderr.count("\n") <= 2 and "unknown, expired or was used before" in unknown.stderr
    never = run_command("join", "--device", "cpu", environment=environment, cwd=tmp_path)
    assert (never.returncode, "has not joined a farm" in never.stderr) == (ExitCode.USAGE, True)
    usual = {name: getattr(farm_settings, name) for name in ("data_dir", "redis_url", "database_url")}
    node.check_node(Settings(_env_file=None, **usual))
    for changes, message in (
        ({"redis_url": "redis://127.0.0.1:9/0"}, "Redis at .* cannot be reached"),
        ({"database_url": "postgresql+psycopg://u:hidden@127.0.0.1:9/x"}, "Postgres at .* does not answer"),
        ({"storage_url": (tmp_path / "missing").as_uri()}, "mount it on this machine"),
    ):
        with pytest.raises(FarmError, match=message) as caught:
            node.check_node(Settings(_env_file=None, **{**usual, **changes}))
        assert "hidden" not in caught.value.message
    answer = httpx.post(f"{address}/v1/join", json=body_of(create_token(database, 3600.0))).json()
    gone = JoinAnswer.model_validate(answer | {"redis_url": "redis://127.0.0.1:9/0"})
    join.write_join_file(tmp_path / "data" / "join.json", gone)
    environment |= {"IMAGEFARM_DATA_DIR": str(tmp_path / "data")}
    moved = run_command("join", "--device", "cpu", environment=environment, cwd=tmp_path)
    assert moved.returncode != ExitCode.OK and moved.stderr.count("\n") <= 2
    assert re.search(r"Redis at .* cannot be reached.* from \S*join\.json: if they have changed, run", moved.stderr)


def test_a_machine_may_be_upgraded_after_the_tables(farm_settings: Settings, tmp_path: Path, migrate: Migrate) -> None:
    url = f"sqlite:///{tmp_path / 'newer.db'}"
    migrate(url)
    newer = Database(url)
    with newer.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer.dispose()
    node.check_node(farm_settings.model_copy(update={"database_url": url}))


@pytest.mark.parametrize(("ahead", "word"), [(75.0, "behind"), (-75.0, "ahead of")])
def test_a_wrong_clock_is_named(ahead: float, word: str) -> None:
    node._check_clock(1.0)
    with pytest.raises(node.NodeUnfit, match=f"clock is 75 s {word} the farm's"):
        node._check_clock(ahead)


def test_each_gpu_gets_a_worker(farm_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    named = farm_settings.model_copy(update={"node_name": "big box"})
    specs = node.worker_specs(named, join.find_devices("all"))
    assert [spec.environment["IMAGEFARM_WORKER_NAME"] for spec in specs] == ["big-box-cuda0", "big-box-cuda1"]
    assert [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in specs] == ["4", "5"]
    assert not any(farm_settings.redis_url in word for spec in specs for word in spec.command)
    assert [device.label for device in join.find_devices("1")] == ["cuda1"]
    with pytest.raises(InvalidInput, match="has 2 GPUs"):
        join.find_devices("2")
    with pytest.raises(InvalidInput, match="--device is"):
        join.find_devices("gpu")


def test_no_line_is_printed_for_a_farm_that_cannot_be_joined(farm_settings: Settings, tmp_path: Path) -> None:
    both = ("IMAGEFARM_DATABASE_URL", "IMAGEFARM_REDIS_URL")
    for words, environment, settings in (
        ((), clean_environment(), both),
        (("--url", "http://192.0.2.1:7860"), clean_environment(), both),
        (("--url", "http://192.0.2.1:7860"), environment_of(farm_settings), both[:1]),
    ):
        done = run_command("join-command", *words, environment=environment, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (ExitCode.FAILED, "")
        assert "Other machines cannot join this farm: " in done.stderr
        assert [f"{setting}, such as" in done.stderr for setting in both] == [setting in settings for setting in both]
    assert not list(tmp_path.rglob("*.db"))


def test_a_farm_of_one_machine_says_what_others_would_need() -> None:
    alone = join_addresses(database_url="sqlite:////x.db", redis_url="redis://127.0.0.1:1/0")
    alone.check(is_remote=False)
    for changes, setting in (
        ({"database_url": "sqlite:////x.db"}, "IMAGEFARM_DATABASE_URL"),
        ({"database_url": "postgresql+psycopg://u:p@localhost/x"}, "IMAGEFARM_JOIN_DATABASE_URL"),
        ({"redis_url": "redis://127.0.0.1:6379/0"}, "IMAGEFARM_JOIN_REDIS_URL"),
    ):
        with pytest.raises(Exception, match=setting):
            join_addresses(**changes).check(is_remote=True)


def join_addresses(**changes: str) -> JoinAddresses:
    usual = {"database_url": "postgresql+psycopg://u:p@db/x", "redis_url": "redis://r:6379/0", "storage_url": "s3://farm"}
    return JoinAddresses(**{**usual, **changes})
