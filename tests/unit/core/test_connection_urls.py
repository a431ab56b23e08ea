"""Wrong URLs of Redis and of the database each get a sentence, which never holds a part of the password."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from core.connection_urls import database_url_problem, redis_url_problem, sqlite_url
from core.settings import Settings
from tests.unit.cli.test_main import cli

SECRET = "s3cr"
REDIS = [
    ("redis://:s3cr#et@host:6379/0", "%23"),
    ("redis://:s3cr/et@host:6379/0", "%2F"),
    ("redis://:s3cr?et@host", "%3F"),
    ("redis://:s3cr@et@host", "%40"),
    ("redis://:s3cr et@host", "%20"),
    ("redis://:s3cret", "the port is not a number"),
    ("redis://:@host", "the password is missing"),
    ("redis://user@host", "the password is missing"),
    ("redis://host:/0", "the port after : is empty"),
    ("redis://host:99999", "the port is not a number"),
    ("redis://:s3cret@host:" + "9" * 5000, "the port is not a number"),
    ("redis://host/s3cret", "database number"),
    ("redis://:s3cret@host/0?db=s3cret", "the option db"),
    ("rediss://:s3cret@host/0?ssl_cert_reqs=s3cret", "the option ssl_cert_reqs"),
    ("redis://:s3cret@host/0?decode_responses=s3cret", "the option decode_responses"),
    ("redis://:s3cret@host/0?encoding=s3cret", "the option encoding"),
    ("redis://:s3cret@host/0?socket_timeout=0.0", "the option socket_timeout"),
    ("unix:///run/redis.sock", "not a URL|sockets"),
    ("unix://run/redis.sock", "Unix sockets are not supported"),
    ("redis+socket:///run/redis.sock", "Unix sockets are not supported"),
    ("amqp://user:s3cret@host", "begins with redis://"),
    ("host:6379", "not a URL"),
    ("sentinel://:s3cret@host:26379", "in one URL"),
    ("redis+sentinel://:s3cret@host:26379", "name of the master"),
    ("redis+sentinel://:s3cret@host:26379/m/s3cret", "number of the database"),
    ("redis+sentinel://:s3cr/et@host:26379/m/0", "%2F"),
    ("redis+sentinel://:s3cret@one:1,two:s3cret/m", "host:port"),
    ("redis+sentinel://one/m?ssl=s3cret", "no options"),
]
DATABASE = [
    ("postgres://u:s3cret@host/farm", r"begins with postgresql\+psycopg://"),
    ("postgresql+psycopg2://u:s3cret@host/farm", r"begins with postgresql\+psycopg://"),
    ("postgresql+asyncpg://u:s3cret@host/farm", r"begins with postgresql\+psycopg://"),
    ("mysql://u:s3cret@host/farm", "MySQL"),
    ("mysql+pymysql://u:s3cret@host/farm", "MySQL"),
    ("mongodb://u:s3cret@host/farm", "not supported"),
    ("postgresql://u:s3cr@et@host/farm", "%40"),
    ("postgresql://u:x@host:/farm", "the port after : is empty"),
    ("postgresql://u:x@host:s3cret/farm", "the port is not a number"),
    ("sqlite://data/farm.db", "three slashes"),
    ("sqlite+aiosqlite:///farm.db", "begins with sqlite:///"),
    (
        "postgresql://u:s3cret@host/farm?sslmode=s3cret",
        "the option sslmode .* write disable, allow, prefer, require, verify-ca",
    ),
    ("postgresql://u:s3cret@host/farm?connect_timeout=s3cret", "the option connect_timeout .* a number of seconds"),
    ("host=db dbname=farm password=s3cret", "not a URL"),
]
GOOD_REDIS = [
    "redis+sentinel://a,b:2,[::1]:3/m",
    "redis+sentinel://u:p%2Fw@a:1/m/2",
    "redis://host",
    "redis://:p%23w@host:6379/0",
    "rediss://u:p@host:1/2?ssl_cert_reqs=none",
    "redis://host?db=2&socket_timeout=0.5&client_name=farm",
    "redis://[::1]:6379",
]
GOOD_DATABASE = [
    "postgresql://u:p#w@host:5432/d?sslmode=verify-full&sslrootcert=/a",
    "postgresql+psycopg:///d?host=/run",
    "sqlite:////a.db",
    "sqlite:///a.db",
]


@pytest.mark.parametrize(("url", "sentence"), REDIS)
def test_a_wrong_redis_url_gets_its_sentence_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as caught:
        Settings(_env_file=None, redis_url=url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("url", "sentence"), DATABASE)
def test_a_wrong_database_url_gets_its_sentence_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as caught:
        Settings(_env_file=None, database_url=url)
    assert SECRET not in str(caught.value)


def test_right_urls_have_no_problem() -> None:
    assert [redis_url_problem(url) for url in GOOD_REDIS] == [None] * len(GOOD_REDIS)
    assert [database_url_problem(url) for url in GOOD_DATABASE] == [None] * len(GOOD_DATABASE)


@pytest.mark.parametrize("command", ["doctor", "up", "reaper"])
def test_a_command_names_the_setting_and_hides_the_url(tmp_path: Path, command: str) -> None:
    done = cli(command, cwd=tmp_path, IMAGEFARM_REDIS_URL="redis://:s3cr#et@host/0", IMAGEFARM_DEBUG="1")
    assert done.returncode == 2
    assert "IMAGEFARM_REDIS_URL: the password holds a character" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("folder", ["100%", "a%41b", "what?", "c#1", "a b+c", "猫 é", "x;y&z=1@h:1", "%?# all"])
def test_the_default_database_is_in_the_data_directory_whatever_its_name(tmp_path: Path, folder: str) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / folder, database_url="")
    assert make_url(settings.resolved_database_url).database == str(tmp_path / folder / "imagefarm.db")
    assert settings.resolved_database_url == sqlite_url(tmp_path / folder / "imagefarm.db")
    assert database_url_problem(settings.resolved_database_url) is None
