"""Files of the web page as the API serves them."""

from __future__ import annotations

import httpx
import pytest


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
