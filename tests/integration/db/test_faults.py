"""Each way in which a database cannot be used gets one sentence that says what to do, and no data is touched."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from sqlalchemy import make_url

from cli.exit_codes import ExitCode
from core.connection_urls import sqlite_url
from core.errors import Unavailable
from db import health
from db.database import Database
from db.faults import DatabaseUnusable
from db.migrate import differences, upgrade
from tests.conftest import Migrate
from tests.servers.postgres import PostgresServer
from tests.unit.cli.test_main import cli


@pytest.fixture
def file(tmp_path: Path, migrate: Migrate) -> Path:
    """Return a SQLite file with all tables."""
    file = tmp_path / "data" / "imagefarm.db"
    file.parent.mkdir()
    migrate(f"sqlite:///{file}")
    return file


def check(url: str) -> None:
    database = Database(url)
    try:
        health.check(database, thorough=True)
    finally:
        database.dispose()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zero_the_head(file: Path) -> None:
    file.write_bytes(bytes(4096) + file.read_bytes()[4096:])


def scatter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content) - 4096, 8192):
        content[start : start + 512] = b"\xa5" * 512
    file.write_bytes(bytes(content))


def replace_with_text(file: Path) -> None:
    file.write_text("This is no database. " * 500)


DAMAGES = [cut, zero_the_head, scatter, replace_with_text]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_left_as_it_is(file: Path, damage: Callable[[Path], None]) -> None:
    damage(file)
    before = file.read_bytes()
    with pytest.raises(DatabaseUnusable, match=r"is damaged.*imagefarm restore") as caught:
        check(sqlite_url(file))
    assert str(file) in caught.value.message and "\n" not in caught.value.message
    assert caught.value.code == "database_damaged"
    assert file.read_bytes() == before


@pytest.mark.parametrize("words", [("up", "--port", "0", "--flower-port", "0"), ("db", "check"), ("doctor",)], ids=" ".join)
def test_commands_report_damage_in_one_line(file: Path, words: tuple[str, ...]) -> None:
    scatter(file)
    before = file.read_bytes()
    done = cli(
        *words, cwd=file.parent.parent, IMAGEFARM_DATA_DIR=str(file.parent), IMAGEFARM_PORT="0", IMAGEFARM_FLOWER_PORT="0"
    )
    output = done.stdout + done.stderr
    assert done.returncode == ExitCode.FAILED, output
    assert len([line for line in output.splitlines() if "is damaged" in line]) == 1, output
    assert "Traceback" not in output and "unexpected" not in output
    assert file.read_bytes() == before


def test_running_statements_report_damage_too(file: Path) -> None:
    database = Database(sqlite_url(file))
    replace_with_text(file)
    with pytest.raises(DatabaseUnusable, match="is damaged"), database.read() as session:
        session.connection().exec_driver_sql("SELECT * FROM jobs")
    database.dispose()


@pytest.mark.parametrize(
    "words", [("up", "--port", "0", "--flower-port", "0"), ("db", "check"), ("db", "upgrade"), ("doctor",)]
)
def test_a_database_of_a_newer_version_is_left_alone(file: Path, words: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    done = cli(
        *words, cwd=file.parent.parent, IMAGEFARM_DATA_DIR=str(file.parent), IMAGEFARM_PORT="0", IMAGEFARM_FLOWER_PORT="0"
    )
    output = done.stdout + done.stderr
    assert done.returncode == ExitCode.FAILED, output
    assert len([line for line in output.splitlines() if "was made by a newer imagefarm (schema 0099)" in line]) == 1, output
    assert "Traceback" not in output and "unexpected" not in output


def test_a_check_neither_creates_nor_refuses_a_file_that_does_not_exist(tmp_path: Path) -> None:
    check(sqlite_url(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    done = cli("db", "check", cwd=tmp_path)
    assert done.returncode == ExitCode.FAILED
    assert "There is no database at" in done.stdout
    assert not (tmp_path / "data" / "imagefarm.db").exists()


def test_missing_tables_name_the_command(tmp_path: Path) -> None:
    done = cli("prune", "--older-than", "1", cwd=tmp_path)
    assert done.returncode == ExitCode.FAILED
    assert "Run `imagefarm db upgrade`" in done.stderr


@pytest.mark.parametrize("name", ["100%", "what?x=1", "a#b", "a b", "猫", "%41 ?#"])
def test_farms_in_odd_directories_have_databases_of_their_own(tmp_path: Path, name: str) -> None:
    url = sqlite_url(tmp_path / name / "imagefarm.db")
    upgrade(url)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "imagefarm.db").is_file()
    assert differences(url) == []


@pytest.fixture
def admin(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Yield a connection of the superuser, and drop the role `stranger` and the database `odd` afterwards."""
    with psycopg.connect(
        f"host=127.0.0.1 port={postgres_server.port} user=postgres dbname=postgres", autocommit=True
    ) as own:
        own.execute("CREATE ROLE stranger LOGIN PASSWORD 'pw'")
        yield own
        own.execute("DROP DATABASE IF EXISTS odd WITH (FORCE)")
        own.execute("DROP ROLE stranger")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_refused_before_tables_are_made(
    admin: psycopg.Connection[tuple[object, ...]], postgres_server: PostgresServer, encoding: str
) -> None:
    admin.execute(f"CREATE DATABASE odd ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'".encode())
    url = postgres_server.url("odd")
    for action in (upgrade, differences, check):
        with pytest.raises(DatabaseUnusable, match=f"stores text as {encoding}.*--encoding=UTF8") as caught:
            action(url)
        assert caught.value.code == "database_encoding"
    with psycopg.connect(f"host=127.0.0.1 port={postgres_server.port} user=postgres dbname=odd") as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_user_who_may_not_create_tables_is_told_the_grant(
    admin: psycopg.Connection[tuple[object, ...]], postgres_server: PostgresServer
) -> None:
    admin.execute("CREATE DATABASE odd ENCODING 'UTF8' TEMPLATE template0")
    url = make_url(postgres_server.url("odd")).set(username="stranger", password="pw").render_as_string(hide_password=False)
    for action in (upgrade, check):
        with pytest.raises(
            DatabaseUnusable, match=r"'stranger' may not create tables.*GRANT CREATE ON SCHEMA public TO stranger"
        ):
            action(url)
    upgrade(postgres_server.url("odd"))
    with psycopg.connect(f"host=127.0.0.1 port={postgres_server.port} user=postgres dbname=odd") as owner:
        owner.execute("GRANT SELECT ON alembic_version TO stranger")
    check(url)  # migrated: this user may not create tables, and need not
    database = Database(url)
    with pytest.raises(DatabaseUnusable, match="lacks a right") as caught, database.read() as session:
        session.connection().exec_driver_sql("SELECT * FROM jobs")
    assert caught.value.code == "database_refused"
    database.dispose()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"database": "nowhere"}, "has no database 'nowhere'. Create it"),
        ({"username": "nobody_here"}, "has no user 'nobody_here'. Create it"),
        ({"host": "no-such-host.invalid"}, "its host name is unknown"),
        ({"port": 1}, "connection refused"),
    ],
)
def test_a_failed_connection_says_what_is_missing(
    postgres_server: PostgresServer, change: dict[str, object], sentence: str
) -> None:
    url = make_url(postgres_server.url()).set(password="s3cret").set(**change)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=sentence) as caught:
        check(url.render_as_string(hide_password=False))
    assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b'SFATAL\0C28P01\0Mpassword authentication failed for user "u"\0\0', "refuses the password of the user 'u'"),
        (b"R", "wants a password. Write it into IMAGEFARM_DATABASE_URL"),
    ],
)
def test_a_wrong_and_a_missing_password_differ(said: bytes, sentence: str) -> None:
    """Let a socket answer as Postgres does: the cluster of the tests trusts everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        answer = b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big") if said == b"R" else b"E" + _sized(said)
        thread = Thread(target=_answer, args=(listener, answer), daemon=True)
        thread.start()
        password = "" if said == b"R" else ":s3cret"
        with pytest.raises(DatabaseUnusable, match=sentence) as caught:
            check(f"postgresql://u{password}@127.0.0.1:{port}/d?sslmode=disable&gssencmode=disable")
        assert "s3cret" not in str(caught.value)
    thread.join(5)


def _sized(body: bytes) -> bytes:
    return (len(body) + 4).to_bytes(4, "big") + body


def _answer(listener: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(4096)
            connection.sendall(answer)
            connection.recv(4096)
