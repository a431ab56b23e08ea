"""Measure the cost of searching prompts: the list with `q` over 1,000,000 jobs, on SQLite and Postgres.

    python -m benchmarks.prompt_search [--database sqlite|postgres | --url URL] [--rows 1000000]

`--url` names an empty database to use instead. Milliseconds are this machine's: a median of a few calls, all data in memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.queue_depth import fill
from db.database import Database
from db.migrate import upgrade
from db.search import search_jobs
from tests.servers.postgres import PostgresServer

ROUNDS = 5
PAGE = 51
_WORDS = (
    *("castle", "forest", "harbour", "lantern", "meadow", "mountain", "orchard", "palace", "river", "temple", "village"),
    *("amber", "crimson", "emerald", "golden", "ivory", "silver", "violet", "misty", "stormy", "quiet", "ancient"),
    *("dragon", "falcon", "fisher", "knight", "otter", "raven", "sailor", "turtle", "wolf", "dancer", "baker", "robot"),
    *("dawn", "dusk", "noon", "winter", "autumn", "spring", "summer"),
)
_WIDTH = 12
SEARCHES = {
    "no search": "",
    "common word": "watercolour",
    "two common words": "style watercolour",
    "rare word, 10 jobs": "zeppelin",
    "rare, two characters": "狐狸",
    "word in no prompt": "xylophone",
}


def _word(divisor: int) -> str:
    padded = "".join(word.ljust(_WIDTH) for word in _WORDS)
    return f"trim(substr('{padded}', ((i / {divisor}) % {len(_WORDS)}) * {_WIDTH} + 1, {_WIDTH}))"


def prompt_expression() -> str:
    """Return SQL for about 110 characters: six words of forty, then the words that the searches match."""
    words = " || ' ' || ".join(_word(divisor) for divisor in (1, 40, 1600, 7, 311, 12345))
    style = "CASE WHEN i % 2 = 0 THEN ' in the style of watercolour' ELSE ' as a photograph, 35 mm' END"
    rare = "CASE i % 100000 WHEN 17 THEN ' with a zeppelin' WHEN 18 THEN ' 一只狐狸' ELSE '' END"
    return f"'a study of ' || {words} || {style} || {rare} || ', number ' || i"


def measure(database: Database, rows: int) -> None:
    """Fill the database, then print one line per search."""
    stored = f"""'{{"seed": 1, "pad": "{"x" * 300}"}}'"""
    fill(database, rows, 1000, prompt_expression(), stored)
    for name, text in SEARCHES.items():
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            search_jobs(database, text, limit=PAGE)
            times.append((time.perf_counter() - started) * 1000)
        print(f"  {name:24} {statistics.median(times):7.1f} ms a page, {_pages(database, text)}", flush=True)


def _pages(database: Database, text: str) -> str:
    """Measure finding the first full page, or all matches if there are fewer."""
    began, calls, jobs, cursor = time.perf_counter(), 0, 0, None
    while calls == 0 or (cursor is not None and jobs < PAGE):
        found = search_jobs(database, text, before=cursor, limit=PAGE - jobs)
        calls, jobs, cursor = calls + 1, jobs + len(found.jobs), found.next_before
    return f"{jobs} jobs in {calls} calls, {time.perf_counter() - began:.2f} s"


def main() -> int:
    """Print one table per database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"))
    parser.add_argument("--url")
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.url:
        report(given.url, given.rows)
        return 0
    for name in [given.database] if given.database else ["sqlite", "postgres"]:
        with tempfile.TemporaryDirectory(prefix="imagefarm-search-") as directory:
            server = PostgresServer(Path(directory) / "pg").start() if name == "postgres" else None
            try:
                report(server.create_database() if server else f"sqlite:///{directory}/search.db", given.rows)
            finally:
                if server:
                    server.stop()
    return 0


def report(url: str, rows: int) -> None:
    """Print one database's table."""
    upgrade(url)
    database = Database(url)
    print(f"{database.url.get_backend_name()}, {rows:,} jobs", flush=True)
    measure(database, rows)
    database.dispose()


if __name__ == "__main__":
    sys.exit(main())
