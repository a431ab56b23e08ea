"""The user's catalogue is edited as text: rows come and go, edits by hand stay, damage is named by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.catalogue.user_file import USER_FILE, add_user_row, read_user_rows, remove_user_row
from core.errors import Conflict, InvalidInput, NotFound

HAND = """\
# My models.

# The portrait model.
[[model]]
id = "portraits"   # short
base = "sd15"
defaults.width = 640
[model.files]
unet = "weights/p.safetensors"
text_encoder = "weights/p.safetensors"
vae = '/elsewhere/v.safetensors'

# The fast one.
[[model]]
id = "fast"
base = "z-image-turbo"
folder = "~/z"
notes = ["mine"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / USER_FILE


def test_rows_take_what_they_leave_out_from_their_base(file: Path, tmp_path: Path) -> None:
    file.write_text(HAND, encoding="utf-8")
    rows = read_user_rows(file)
    assert rows.problems == ()
    portraits, fast = rows.models
    assert (portraits.family, portraits.architecture, portraits.defaults.width) == ("stable-diffusion", "sd15", 640)
    assert portraits.defaults.height == 512
    assert portraits.files["unet"] == tmp_path / "weights" / "p.safetensors"
    assert portraits.files["vae"] == Path("/elsewhere/v.safetensors")
    assert (fast.folder, fast.notes, fast.weights.repo) == (Path.home() / "z", ("mine",), "")
    assert fast.aliases == ()


def test_added_rows_leave_edits_as_they_are(file: Path) -> None:
    file.write_text(HAND, encoding="utf-8")
    odd = 'a "quoted" \\ name\tü.safetensors'
    row = add_user_row(file, {"id": "new", "base": "sdxl", "files": dict.fromkeys(("unet", "text_encoder"), f"/x/{odd}")})
    assert file.read_text(encoding="utf-8").startswith(HAND)
    again = read_user_rows(file)
    assert again.models[-1] == row
    assert row.files["unet"] == Path("/x") / odd


def test_a_removed_row_takes_its_lines_along_and_no_others(file: Path) -> None:
    file.write_text(HAND, encoding="utf-8")
    table = remove_user_row(file, "portraits")
    assert table["files"]["vae"] == "/elsewhere/v.safetensors"
    text = file.read_text(encoding="utf-8")
    assert "# My models." in text
    assert "# The fast one." in text
    assert "weights/p" not in text
    assert [model.id for model in read_user_rows(file).models] == ["fast"]
    remove_user_row(file, "fast")
    assert read_user_rows(file).models == ()


def test_a_row_in_an_unusual_form_is_not_cut_wrongly(file: Path) -> None:
    file.write_text('model = [{ id = "a", base = "sd15", folder = "/x" }, { id = "b", base = "sd15", folder = "/y" }]\n')
    assert [model.id for model in read_user_rows(file).models] == ["a", "b"]
    with pytest.raises(InvalidInput, match="editor"):
        remove_user_row(file, "a")
    assert '"a"' in file.read_text()


@pytest.mark.parametrize(
    ("text", "line", "phrase"),
    [
        ('[[model]]\nid = "a"\nbase = sd15\n', 3, "Invalid value"),
        ('[[model]]\nid = "a"\n\n[[model]\n', 4, ""),
        ('[[model]]\nid = "a"\nid = "a"\n', 3, "overwrite"),
        ('[[model]]\nid = "a', 2, ""),
    ],
)
def test_a_damaged_file_names_the_line(text: str, line: int, phrase: str, file: Path) -> None:
    file.write_text(text, encoding="utf-8")
    rows = read_user_rows(file)
    assert rows.models == ()
    assert len(rows.problems) == 1
    assert f"{file}, line {line}: " in rows.problems[0]
    assert phrase.lower() in rows.problems[0].lower()
    with pytest.raises(InvalidInput, match=f"line {line}"):
        add_user_row(file, {"id": "b", "base": "sd15", "folder": "/x"})
    assert file.read_text(encoding="utf-8") == text


def test_text_that_is_not_utf8_names_the_line(file: Path) -> None:
    file.write_bytes(b'[[model]]\nid = "\xff"\n')
    assert "line 2" in read_user_rows(file).problems[0]


@pytest.mark.parametrize(
    ("row", "phrase"),
    [
        ('id = "a"', "`base` is missing"),
        ('base = "sd15"', "`id` is missing"),
        ('id = "a"\nbase = "nope"', "no model called 'nope'"),
        ('id = "a"\nbase = "demo"\nfolder = "/x"', "random weights"),
        ('id = "A b"\nbase = "sd15"\nfolder = "/x"', "`id`"),
        ('id = "a"\nbase = "sd15"', "names no repository"),
        ('id = "a"\nbase = "sd15"\nfolder = 3', "`folder` is not a path"),
        ('id = "a"\nbase = "sd15"\nfolder = "/x"\ncolour = 1', "`colour`: there is no such field"),
        ('id = "a"\nbase = "sd15"\nfolder = "/x"\ndefaults.width = 13', "not a multiple"),
        ('id = "a"\nbase = "sd15"\nfiles.engine = "/x"', "files"),
        ('id = "a"\nbase = "tiny-sd"\nfiles.unet = "/x"', "no architecture"),
        ('id = "sd15"\nbase = "sd15"\nfolder = "/x"', "the shipped model sd15"),
        ('id = "tinydiffusion"\nbase = "sd15"\nfolder = "/x"', "the shipped model tiny-sd"),
        ('id = "good"\nbase = "sd15"\nfolder = "/x"', "an earlier row"),
    ],
)
def test_a_bad_row_is_left_out_alone_and_named(row: str, phrase: str, file: Path) -> None:
    file.write_text(f'[[model]]\nid = "good"\nbase = "sd15"\nfolder = "/x"\n\n[[model]]\n{row}\n', encoding="utf-8")
    rows = read_user_rows(file)
    assert [model.id for model in rows.models] == ["good"]
    assert len(rows.problems) == 1
    assert "line 6" in rows.problems[0]
    assert phrase in rows.problems[0]


def test_other_tables_are_not_accepted(file: Path) -> None:
    file.write_text("[models]\n", encoding="utf-8")
    assert "'models' is not known here" in read_user_rows(file).problems[0]


def test_names_are_taken_once(file: Path) -> None:
    table = {"id": "mine", "base": "sd15", "folder": "/x"}
    add_user_row(file, table)
    for name in ("mine", "sd15", "tinydiffusion"):
        with pytest.raises(Conflict) as caught:
            add_user_row(file, table | {"id": name})
        assert caught.value.code == "model_exists"
    with pytest.raises(NotFound):
        remove_user_row(file, "sd15")
    assert [model.id for model in read_user_rows(file).models] == ["mine"]


def test_no_half_written_file_is_left(file: Path) -> None:
    add_user_row(file, {"id": "mine", "base": "sd15", "folder": "/x"})
    before = file.read_text(encoding="utf-8")
    with pytest.raises(InvalidInput):
        add_user_row(file, {"id": "other", "base": "sd15", "folder": "/x/\udcff"})
    assert file.read_text(encoding="utf-8") == before
    assert sorted(path.name for path in file.parent.iterdir()) == [f".{USER_FILE}.lock", USER_FILE]
