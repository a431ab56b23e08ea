"""Commands, options, settings and addresses that documents name are those of the generated reference pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.pages import PAGES, ROOT, page_id

REFERENCE = ROOT / "docs" / "reference"
HISTORY = {ROOT / "CHANGELOG.md", *(ROOT / "docs" / "decisions").glob("*.md")}
"""Pages about earlier versions."""
CURRENT = [page for page in PAGES if page not in HISTORY | {REFERENCE / "cli.md"}]
UNLISTED_COMMANDS = {"settings-docs", "cli-docs"}
UNLISTED_SETTINGS = {"IMAGEFARM_DEBUG", "IMAGEFARM_URL", "IMAGEFARM_API_KEY", "IMAGEFARM_PYTHON", "IMAGEFARM_HOME"}
"""Variables that only the command line, the client and the scripts read."""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(?:^|/|\(|\$ |&& |\w=\S+ )imagefarm ([a-z][a-z-]*(?= |$|\))(?:(?!&& )[^#|;&\n)>])*)", re.MULTILINE)
_ADDRESS = re.compile(r"(?<![\w.])(/(?:v1|sdapi|internal)/[\w{}/.-]*\w\}?)")


def known_commands() -> dict[str, set[str]]:
    """Return command -> its options, from the page that is generated from the code."""
    _, *parts = re.split(r"^## imagefarm ", (REFERENCE / "cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.partition("\n")[0]: {"--help", *re.findall(r"`(--?\w[\w-]*)`", part)} for part in parts}


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words after `imagefarm` of the commands in code."""
    blocks = [re.sub(r"\\\n\s*", " ", block) for language, block in _BLOCK.findall(text) if language != "python"]
    inline = re.findall(r"`([^`\n]*imagefarm [^`\n]+)`", _BLOCK.sub("", text))
    for code in (*blocks, *inline):
        for words in _CALL.findall(code):
            yield words.split()


def wrong_word(words: list[str], known: dict[str, set[str]]) -> str | None:
    """Return the first word that is no command or option where it stands; None when all are."""
    two = " ".join(words[:2])
    name = two if two in known else words[0]
    if name not in known:
        groups = {command.partition(" ")[0] for command in known if " " in command}
        is_group = words[0] in groups and (len(words) == 1 or words[1] in ("...", "…", "--help"))
        return None if is_group or name in UNLISTED_COMMANDS else two
    options = [word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)]
    return next((option for option in options if option not in known[name]), None)


@pytest.mark.parametrize("page", CURRENT, ids=page_id)
def test_commands_and_options_exist(page: Path) -> None:
    known = known_commands()
    for words in commands_in(page.read_text(encoding="utf-8")):
        assert wrong_word(words, known) is None, f"imagefarm {' '.join(words)}"


def test_a_wrong_command_or_option_is_found() -> None:
    known = known_commands()
    text = "```bash\nA=1 imagefarm submit x \\\n  --sise 5 # imagefarm up\nimagefarm models list\n```\n"
    text += "`imagefarm models lst`"
    assert [wrong_word(words, known) for words in commands_in(text)] == ["--sise", None, "models lst"]


@pytest.mark.parametrize("page", CURRENT, ids=page_id)
def test_settings_exist(page: Path) -> None:
    settings = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `(IMAGEFARM_\w+)`", settings, flags=re.MULTILINE)) | UNLISTED_SETTINGS
    assert len(known) > 50
    assert set(re.findall(r"IMAGEFARM_[A-Z0-9_]*[A-Z0-9]", page.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("page", CURRENT, ids=page_id)
def test_addresses_are_those_of_the_reference(page: Path) -> None:
    reference = (REFERENCE / "http-api.md").read_text(encoding="utf-8")
    known = [_parts(path) for path in _ADDRESS.findall(reference)]
    for path in _ADDRESS.findall(page.read_text(encoding="utf-8")):
        assert any(_is_start(_parts(path), each) for each in known), path


def _parts(path: str) -> list[str]:
    return re.sub(r"\{\w+\}", "*", path).strip("/").split("/")


def _is_start(parts: list[str], known: list[str]) -> bool:
    """Return whether the parts are those of a known address, or of a folder of known addresses."""
    return len(parts) <= len(known) and all(
        have in (want, "*") or want == "*" for have, want in zip(parts, known, strict=False)
    )
