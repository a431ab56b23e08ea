"""Job files are read and validated, and their state survives the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Conflict, InvalidInput
from core.lifecycle import JobStatus
from imagefarm.job_file import JobFileState, Row, read_rows, state_path

URL = "http://farm"


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def requests_of(rows: list[Row]) -> list[dict[str, object]]:
    return [row.request.as_sent() for row in rows]


def test_json_lines_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    lines = '{"prompt": "一只猫", "width": 64, "steps": 3, "metadata": {"k": "v"}}\n\n"a dog,\\nasleep"\n'
    table = '\ufeffprompt,width,steps,metadata.k\n一只猫,64,3,v\n"a dog,\nasleep",,,\n'
    from_lines = read_rows(write(tmp_path, "jobs.jsonl", lines))
    from_table = read_rows(write(tmp_path, "jobs.csv", table))
    assert requests_of(from_lines) == requests_of(from_table)
    assert [row.identity for row in from_lines] == [row.identity for row in from_table]
    assert [row.line for row in from_lines] == [1, 3]
    assert requests_of(from_lines)[1] == {"prompt": "a dog,\nasleep"}


PLAIN = 'prompt,width,seed,metadata.k\n"a dog, asleep",64,5,v\na cat,,,\n'


@pytest.mark.parametrize(
    "text",
    [
        ' prompt , width,seed ,metadata.k \n"a dog, asleep",64,5,v\na cat,,,\n',
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        PLAIN.replace("\na cat", "\n,,,\n\n , ,\n,,,,,\na cat"),
        'prompt;width;seed;metadata.k\n"a dog, asleep";64;5;v\na cat;;;\n',
        "prompt;width;seed;metadata.k\na dog, asleep;64;5;v\na cat\n",
        "prompt\twidth\tseed\tmetadata.k\na dog, asleep\t64\t5\tv\na cat\n",
        "sep=;\r\nprompt;width;seed;metadata.k\r\na dog, asleep;64;5;v\r\na cat;;;\r\n",
        '"prompt","width","seed","metadata.k",\n"a dog, asleep","64","5","v",\n"a cat",,,,\n',
        "\n\n" + PLAIN,
    ],
)
def test_tables_of_every_program_give_the_same_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "jobs.csv"
    path.write_bytes(text.encode())
    first = {"prompt": "a dog, asleep", "width": 64, "seed": 5, "metadata": {"k": "v"}}
    assert requests_of(read_rows(path)) == [first, {"prompt": "a cat"}]


def test_a_row_is_identified_by_its_request_and_not_by_its_position(tmp_path: Path) -> None:
    before = read_rows(write(tmp_path, "a.jsonl", '"a"\n"b"\n"b"\n'))
    after = read_rows(write(tmp_path, "b.jsonl", '"new"\n"b"\n"a"\n"b"\n'))
    assert {row.identity for row in before} < {row.identity for row in after}
    assert len({row.identity for row in after}) == 4


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.jsonl", '{"prompt": "a", "width": "x"}\n{"promt": "b"}\n', ["line 1: width", "line 2: prompt", "line 2: promt"]),
        ("a.jsonl", "a cat\n", ["line 1 is not JSON", '{"prompt": "a cat"}']),
        ("a.jsonl", "\n", ["no rows"]),
        ("a.csv", "width\n64\n", ["name the columns", "prompt"]),
        ("a.csv", "prompt\na,b\n", ["line 2 has more cells", "'b'", '"a cat, asleep"']),
        ("a.csv", "prompt,,seed\na,5,6\n", ["line 2", "'5'", "column 2"]),
        ("a.csv", "prompt,seed, seed \na,5,6\n", ["line 1", "`seed` 2 times"]),
        ("a.csv", 'prompt,seed\n\n"a\nb",5\n"c" d,6\n', ["line 5 is not CSV", "double quote"]),
        ("a.csv", 'prompt,seed\na,5\n"never ends,6\nb,7\n', ["line 3 is not CSV", "double quote"]),
        ("a.csv", 'prompt,seed\n"a\nb",x\n,,\nc,y\n', ["line 2: seed", "line 5: seed"]),
        ("a.csv", "prompt;seed\na;x\n", ["line 2: seed"]),
        ("a.csv", ",,\n", ["line 1 must name the columns"]),
        ("a.csv", "", ["line 1 must name the columns"]),
        ("missing.jsonl", "", ["No such file"]),
    ],
)
def test_problems_are_reported_with_their_line(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    path = tmp_path / name if name.startswith("missing") else write(tmp_path, name, text)
    with pytest.raises(InvalidInput) as caught:
        read_rows(path)
    assert caught.value.code == "batch_file_invalid"
    assert all(words in caught.value.message for words in expected), caught.value.message


def test_state_survives_its_process_and_a_line_cut_short(tmp_path: Path) -> None:
    path = state_path(tmp_path / "jobs.jsonl")
    with JobFileState(path, URL) as state:
        key = state.key("row")
        state.submitted("row", "job-1")
        state.submitted("other", "job-2")
        state.ended("row", JobStatus.SUCCEEDED, ("image",))
    with path.open("a") as file:
        file.write('{"row": "other", "tries": 1, "jo')
    with JobFileState(path, URL) as state:
        assert (state.of("row").status, state.of("row").images) == (JobStatus.SUCCEEDED, ("image",))
        assert (state.of("other").job, state.of("other").status) == ("job-2", None)
        assert state.key("row") == key
        state.again("row")
        assert state.of("row").job is None
        assert state.key("row") != key
    with JobFileState(path, URL) as state:
        assert state.of("row").tries == 2


def test_a_run_started_over_has_new_keys(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with JobFileState(path, URL) as state:
        key = state.key("row")
    with JobFileState(path, URL, afresh=True) as state:
        assert state.key("row") != key


def test_a_second_run_and_a_foreign_state_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with JobFileState(path, URL), pytest.raises(Conflict, match="is running this file"):
        JobFileState(path, URL)
    path.write_text("my notes\n")
    with pytest.raises(InvalidInput, match="not the state of a job file"):
        JobFileState(path, URL)
    assert path.read_text() == "my notes\n"


def test_loras_in_a_table_are_names_with_scales(tmp_path: Path) -> None:
    table = 'prompt,loras\na,ink:0.8; v1.5 gold\nb,\n"c <lora:ink>",\n'
    rows = read_rows(write(tmp_path, "jobs.csv", table))
    assert [[(lora.name, lora.scale) for lora in row.request.loras] for row in rows] == [
        [("ink", 0.8), ("v1.5 gold", 1.0)],
        [],
        [],
    ]
