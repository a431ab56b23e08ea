"""TLS and ACL users before Redis: every client of the farm checks the certificate. Postgres gets its TLS options."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from core.errors import Unavailable
from core.queue import broker_url
from core.settings import Settings
from db.database import Database
from db.join_tokens import database_time
from supervisor.embedded_redis import find_redis_binary, problem_with
from tests.servers.ports import free_port, wait_listening
from tests.servers.postgres import PostgresServer
from tests.servers.tls import Certificate, make_certificate, tls_before
from worker.hints.consumer import make_celery

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "many-boxes.md"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, files: Certificate) -> Iterator[int]:
    """Run a server whose users are those that the guide names, behind TLS."""
    folder = tmp_path_factory.mktemp("redis")
    rules = [line for line in GUIDE.read_text().splitlines() if line.startswith("user ")]
    assert len(rules) == 2
    (folder / "users.conf").write_text("\n".join(rules).replace(">PASSWORD", ">pass/word") + "\n")
    plain = free_port()
    options = ["--port", str(plain), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    command = [str(find_redis_binary()), str(folder / "users.conf"), *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_listening(plain, server)
        with tls_before(plain, files) as found:
            yield found
    finally:
        server.kill()
        server.wait()


def connect(url: str) -> None:
    """Connect as Celery does."""
    app = make_celery(Settings(_env_file=None, redis_url=url))
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=60)
        connection.channel().client.ping()


def test_the_guides_user_works_over_tls(port: int, files: Certificate) -> None:
    url = f"rediss://farm:pass%2Fword@127.0.0.1:{port}/0?ssl_ca_certs={files.authority}"
    assert problem_with(url) is None
    connect(url)
    with Redis.from_url(url) as redis:
        redis.set("farm:x", "1")
        with pytest.raises(Exception, match=r"NOPERM|no permissions"):
            redis.config_get("*")
        with pytest.raises(Exception, match=r"NOPERM|No permissions"):
            redis.set("other", "1")
    assert "password" in str(problem_with(url.replace("word", "wrong")))


@pytest.mark.parametrize("options", ["", "?ssl_ca_certs={other}"])
def test_a_certificate_of_another_authority_is_refused(port: int, tmp_path: Path, options: str) -> None:
    other = make_certificate(tmp_path).authority
    url = f"rediss://farm:pass%2Fword@127.0.0.1:{port}/0{options.format(other=other)}"
    assert "certificate" in str(problem_with(url)).lower()
    with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        connect(url)


def test_the_option_is_added_only_where_it_is_missing() -> None:
    assert broker_url("redis://h/0") == "redis://h/0"
    assert broker_url("rediss://h/0?ssl_cert_reqs=none") == "rediss://h/0?ssl_cert_reqs=none"
    assert broker_url("rediss://h/0?ssl_ca_certs=/x") == "rediss://h/0?ssl_ca_certs=/x&ssl_cert_reqs=required"


def test_postgres_without_tls_is_refused_when_it_is_demanded(postgres_server: PostgresServer) -> None:
    """The server of the tests has no TLS: that it is refused shows that the option reaches libpq."""
    url = f"{postgres_server.url()}?sslmode=verify-full&sslrootcert=/etc/ssl/ca.crt"
    settings = Settings(_env_file=None, database_url=url)
    database = Database(settings.resolved_database_url)
    with pytest.raises(
        Unavailable,
        match=r"offers no TLS|cannot be checked: its authority|sslmode value \"verify-full\" invalid",
    ):
        database_time(database)
    database.dispose()
