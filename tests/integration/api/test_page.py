"""Files of the web page as the API serves them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import httpx
import pytest

from api.page import Index, web_directory


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/js/main.js", "text/javascript"),
        ("/css/tokens.css", "text/css"),
        ("/img/mark.svg", "image/svg"),
        ("/favicon.ico", "image/svg"),
    ],
)
def test_files_have_their_type_and_are_revalidated(shared_api: httpx.Client, path: str, kind: str) -> None:
    answer = shared_api.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert shared_api.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/__init__.py", "/js/../../pyproject.toml", "/%2e%2e/pyproject.toml", "/js", "/nothing"])
def test_other_paths_are_404(shared_api: httpx.Client, path: str) -> None:
    assert shared_api.get(path).status_code == 404


def test_the_page_names_files_that_a_browser_keeps(shared_api: httpx.Client) -> None:
    named = re.findall(r'(?:href|src)="(files/[^"]+)"', shared_api.get("/").text)
    assert {path.split("/", 2)[2] for path in named} >= {"js/main.js", "css/tokens.css", "img/mark.svg"}
    for path in named:
        answer = shared_api.get(f"/{path}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "max-age=31536000, immutable"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.content == shared_api.get(f"/{path.split('/', 2)[2]}").content


def test_files_of_another_version_are_revalidated(shared_api: httpx.Client) -> None:
    """An API of another version, or one that was upgraded, must not fill the browser's cache for that version."""
    assert shared_api.get("/").status_code == 200
    assert shared_api.get("/files/0123456789abcdef/js/main.js").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["js/nothing.js", "index.html", "js", "js/../__init__.py", "js/%2e%2e/__init__.py"])
def test_nothing_else_has_a_version(shared_api: httpx.Client, path: str) -> None:
    version = shared_api.get("/").headers["etag"].strip('"')
    answer = shared_api.get(f"/files/{version}/{path}")
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("cache-control", "")


@pytest.mark.parametrize("changed", ["index.html", "js/views/farm.js", "css/base.css"])
def test_the_version_changes_with_each_file(tmp_path: Path, changed: str) -> None:
    folder = tmp_path / "web"
    shutil.copytree(web_directory(), folder)
    index = Index(folder)
    before, version = index.html(), index.version
    assert (index.html(), index.version) == (before, version)
    assert Index(web_directory()).html() == before  # times of files do not matter
    with (folder / changed).open("a") as file:
        file.write("\n")
    assert version not in index.html()
    assert index.version not in ("", version)


def test_a_link_that_leads_nowhere_is_no_file_of_the_page(tmp_path: Path) -> None:
    """As editors leave for files that are being edited."""
    folder = tmp_path / "web"
    shutil.copytree(web_directory(), folder)
    (folder / "js" / ".#main.js").symlink_to("nobody@nowhere")
    assert "files/" in Index(folder).html()
