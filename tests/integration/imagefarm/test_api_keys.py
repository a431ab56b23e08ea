"""`imagefarm keys`, and the errors of client and commands without a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from core.errors import Unauthorized
from core.settings import Settings
from imagefarm import ImageFarm
from tests.integration.api.running import serving
from tests.servers.farm import clean_environment
from tests.servers.forked_parts import run_command


def test_a_key_gives_access_until_it_is_revoked(tmp_path: Path, redis_url: str) -> None:
    data = tmp_path / "data"
    data.mkdir()

    def run(*words: str, url: str = "", key: str = "") -> tuple[int, str, str]:
        given = {"IMAGEFARM_URL": url, "IMAGEFARM_DATA_DIR": str(data), "IMAGEFARM_API_KEY": key}
        done = run_command(*words, environment=clean_environment(**given), cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    created = json.loads(run("keys", "create", "anna", "--days", "1", "--json")[1])
    key = created["key"]
    with serving(Settings(_env_file=None, data_dir=data, redis_url=redis_url)) as url:
        with ImageFarm(url, "") as without_key, pytest.raises(Unauthorized):
            without_key.queue()
        code, _, err = run("jobs", url=url)
        assert code == ExitCode.REFUSED
        assert "imagefarm keys create" in err or "key" in err
        with ImageFarm(url, key) as anna:
            assert anna.queue().queued == 0
        assert run("jobs", "--json", url=url, key=key)[:2] == (ExitCode.OK, "[]\n")

        other = json.loads(run("keys", "create", "ben", "--json")[1])
        code, out, err = run("keys", "revoke", other["id"])
        assert (code, "revoked" in out, err) == (ExitCode.OK, True, "")
        code, out, err = run("keys", "revoke", created["id"])
        assert (code, "revoked" in out) == (ExitCode.OK, True)
        assert "no key is valid now" in err
        assert "imagefarm keys create" in err
        with ImageFarm(url, "") as without_key, pytest.raises(Unauthorized):
            without_key.queue()
    listed = json.loads(run("keys", "list", "--json")[1])
    assert [(row["name"], row["revoked_at"] is not None) for row in listed] == [("anna", True), ("ben", True)]
    _, _, secret = key.split("_", 2)  # the secret may contain a "_"
    assert secret not in json.dumps(listed)
    assert "anna" in run("keys", "list")[1]
