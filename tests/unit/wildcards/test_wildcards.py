"""The folder of wildcards: names, files, references, loops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import InvalidInput, NotFound
from core.wildcards import MAX_LINES, WildcardLibrary, check_references, parse_wildcard


@pytest.fixture
def library(tmp_path: Path) -> WildcardLibrary:
    return WildcardLibrary(tmp_path / "wildcards")


def test_a_file_is_written_read_changed_and_deleted(library: WildcardLibrary, tmp_path: Path) -> None:
    assert library.all() == {}
    assert library.write("color", "\ufeffred\r\n# dark ones\n\n dark green \nred\n")
    assert library.all()["color"].values == ("red", "dark green")
    assert library.text("color") == "red\ndark green\n"
    assert not library.write("color", "blue")
    path = tmp_path / "wildcards" / "color.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    os.utime(path, (1, 1))
    assert library.all()["color"].values == ("one", "two"), "changed by hand"
    library.delete("color")
    assert [each.name for each in (tmp_path / "wildcards").iterdir()] == []
    with pytest.raises(NotFound):
        library.delete("color")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a.b", "/etc/passwd", "a__b", "_a", "a_", "é", "a\n", "x" * 66]
)
def test_a_name_is_never_a_path(library: WildcardLibrary, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        library.write(name, "x")
    assert caught.value.code == "wildcard_name"
    with pytest.raises(NotFound):
        library.text(name)
    assert list(tmp_path.rglob("*")) == []


def test_other_files_in_the_folder_are_left_alone(library: WildcardLibrary, tmp_path: Path) -> None:
    library.write("color", "red")
    (tmp_path / "wildcards" / "read me.txt").write_text("x", encoding="utf-8")
    (tmp_path / "wildcards" / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "wildcards" / "sub").mkdir()
    assert list(library.all()) == ["color"]


def test_a_loop_is_refused_with_its_path(library: WildcardLibrary) -> None:
    library.write("a", "x __b__")
    library.write("b", "y __c__")
    with pytest.raises(InvalidInput, match="c -> a -> b -> c") as caught:
        library.write("c", "__a__\nplain")
    assert caught.value.code == "wildcard_loop"
    with pytest.raises(InvalidInput, match="d -> d"):
        library.write("d", "__d*__")
    library.write("c", "plain")
    check_references("__a__ and __a__", library.all())


def test_unknown_references_are_found_in_values_too(library: WildcardLibrary) -> None:
    library.write("a", "x __b__")
    with pytest.raises(InvalidInput, match="no wildcard 'b', which `a` refers to") as caught:
        check_references("__a__", library.all())
    assert caught.value.code == "unknown_wildcard"
    for text in ("__no__", "__~no__", "__no(x=1)__", "__no*__"):
        with pytest.raises(InvalidInput, match=r"no wildcard 'no\*?'. The wildcards are: a"):
            check_references(text, library.all())
    with pytest.raises(InvalidInput, match=r"There are none: put no\.txt into the folder wildcards"):
        check_references("__no__", {})


def test_a_file_without_values_or_too_large_is_refused() -> None:
    for text, message in (("# only\n\n", "no values"), ("a\n" + "x" * 2001, "2001 characters"), ("a\x00", "NUL")):
        with pytest.raises(InvalidInput, match=message):
            parse_wildcard("x", text)
    with pytest.raises(InvalidInput, match="too large"):
        parse_wildcard("x", "\n".join(map(str, range(MAX_LINES + 1))))
