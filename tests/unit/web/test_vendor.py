"""Files from elsewhere are those that web/vendor/README.md names, unchanged."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import web

ROOT = Path(web.__file__).parent
VENDOR = ROOT / "vendor"


def test_files_are_those_of_the_version_that_is_written_down() -> None:
    text = (VENDOR / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    scripts = {path for path in VENDOR.rglob("*") if path.suffix in (".js", ".css")}
    assert {path.name for path in scripts} == set(rows)
    for path in scripts:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == rows[path.name], path


def test_licences_are_there() -> None:
    assert "Apache License" in (VENDOR / "swagger-ui" / "LICENSE").read_text(encoding="utf-8")
    assert (VENDOR / "swagger-ui" / "NOTICE").is_file()
    assert (VENDOR / "swagger-ui" / "swagger-ui-bundle.js.LICENSE.txt").is_file()


def test_documentation_page_names_only_files_that_are_there() -> None:
    text = (ROOT / "docs.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert "vendor/swagger-ui/swagger-ui-bundle.js" in named
    assert [name for name in named if name != "openapi.json" and not (ROOT / name).is_file()] == []
    assert "<style" not in text
    assert not re.search(r"<script(?![^>]*src=)", text)
