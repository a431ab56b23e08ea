"""Weight of the page: what one visitor loads, in one language, as it is stored."""

from __future__ import annotations

from pathlib import Path

import web

ROOT = Path(web.__file__).parent
MAX_BYTES = 250_000


def test_the_page_weighs_less_than_250_kilobytes() -> None:
    files = [
        path
        for kind in ("html", "css", "js", "svg")
        for path in ROOT.rglob(f"*.{kind}")
        if not {"vendor", "docs.html", "docs.js"} & {*path.parts}
    ]
    languages = [path for path in files if path.parent.name == "text"]
    rest = sum(path.stat().st_size for path in files if path not in languages)
    assert rest > 100_000
    assert rest + max(path.stat().st_size for path in languages) < MAX_BYTES
