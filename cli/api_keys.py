"""`imagefarm keys`: create, list and revoke API keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exit_codes import ExitCode
from cli.options import AsJson, load_private_settings, needs
from cli.tables import folded_table
from core.api_keys import DEFAULT_SCOPES, Scope, check_new_key

if TYPE_CHECKING:
    from db.database import Database
    from db.tables import ApiKey

Scopes = Annotated[
    list[Scope] | None,
    typer.Option("--scope", help=f"{', '.join(Scope)}; repeat it for several.", show_default=" ".join(DEFAULT_SCOPES)),
]
NO_KEY_LEFT = (
    "no key is valid now, and the farm still requires one: the API refuses every caller. "
    "`imagefarm keys create` creates another."
)
group = typer.Typer(
    no_args_is_help=True, help="Create, list and revoke API keys. Once one was created, every caller needs one, for good."
)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="keys", rich_help_panel="Maintenance")


@group.command()
@needs("server")
def create(
    name: Annotated[str, typer.Argument(help="Purpose of the key, such as `anna-laptop`.")],
    owner: Annotated[
        str, typer.Option(help="Owner of the jobs; all keys of an owner share them.", show_default="the key itself")
    ] = "",
    scope: Scopes = None,
    max_queued: Annotated[int | None, typer.Option(min=1, help="Most jobs of the owner that may wait at a time.")] = None,
    per_minute: Annotated[int | None, typer.Option(min=1, help="Most submits per minute.")] = None,
    pixels_per_day: Annotated[int | None, typer.Option(min=1, help="Most pixels per day, such as 262144000.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days until the key expires.")] = None,
    as_json: AsJson = False,
) -> int:
    """Create a key and print it. It is stored hashed and cannot be shown again.

    Run this with the IMAGEFARM_DATA_DIR or IMAGEFARM_DATABASE_URL of the farm. Callers send the key as
    `Authorization: Bearer KEY`; commands and the Python client take it from IMAGEFARM_API_KEY.

    Examples:

    - `imagefarm keys create anna-laptop`

    - `imagefarm keys create ci --scope submit --scope read-own --per-minute 60 --days 90`

    - `imagefarm keys create ops --scope admin`
    """
    from db.api_keys import NewKey, create_key

    check_new_key(name, owner, days)
    new = NewKey(
        name=name,
        owner=owner,
        scopes=tuple(scope) if scope else DEFAULT_SCOPES,
        max_queued=max_queued,
        submits_per_minute=per_minute,
        pixels_per_day=pixels_per_day,
        expires_in_seconds=days * 86_400 if days is not None else None,
    )
    with _database() as database:
        row, key = create_key(database, new)
    if as_json:
        typer.echo(json.dumps({"id": row.id, "owner": row.owner, "key": key}, ensure_ascii=False))
    else:
        typer.echo(key)
        about = f"Key {row.id} for '{row.name}' ({', '.join(row.scopes)}), owner {row.owner}."
        typer.echo(f"{about} Keep it: it cannot be shown again.", err=True)
    return ExitCode.OK


@group.command(name="list")
@needs("server")
def list_keys(as_json: AsJson = False) -> int:
    """List all keys, including revoked and expired ones. The farm stores only hashes, so the keys are not shown.

    Example: `imagefarm keys list --json | jq -r '.[] | select(.last_used_at == null).id'`
    """
    from db import api_keys

    with _database() as database:
        rows = api_keys.list_keys(database)
    if as_json:
        typer.echo(json.dumps([_facts(row) for row in rows], ensure_ascii=False))
    elif rows:
        _show(rows)
    else:
        typer.echo("There are no keys. Callers on this machine need none.", err=True)
    return ExitCode.OK


@group.command()
@needs("server")
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `imagefarm keys list` shows it.")]) -> int:
    """Revoke a key for good; it and the page's sign-ins with it stop working within seconds. The jobs of its owner stay.

    Revoking the last key does not open the farm: callers need a key until the end, so create another.

    Example: `imagefarm keys revoke 3f9a2c`
    """
    from db.api_keys import any_active, revoke_key

    with _database() as database:
        row = revoke_key(database, key_id)
        others = any_active(database)
    typer.echo(f"Key {row.id} for '{row.name}' is revoked.")
    if not others:
        typer.echo(f"Warning: {NO_KEY_LEFT}", err=True)
    return ExitCode.OK


@contextmanager
def _database() -> Iterator[Database]:
    """Open the farm's database and create missing tables: keys may be created before the farm's first start."""
    from db import migrate
    from db.database import Database

    url = load_private_settings().resolved_database_url
    migrate.upgrade(url)
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        database.dispose()


def _facts(row: ApiKey) -> dict[str, Any]:
    """Return all columns except the hash, with times in ISO 8601."""
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    names = ("id", "name", "owner", "scopes", "max_queued", "submits_per_minute", "pixels_per_day")
    return {name: getattr(row, name) for name in names} | {name: _iso(getattr(row, name)) for name in times}


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _show(rows: Sequence[ApiKey]) -> None:
    from rich.console import Console
    from rich.text import Text

    table = folded_table("id", "name", "owner", "scopes", "created", "last used", "state")
    for row in rows:
        facts = _facts(row)
        scopes = ", ".join(row.scopes)
        times = (_day(facts["created_at"]), _day(facts["last_used_at"]) or "never", _state(facts))
        table.add_row(row.id, Text(row.name), Text(row.owner), scopes, *times)
    Console().print(table)


def _state(facts: dict[str, Any]) -> str:
    if facts["revoked_at"]:
        return f"revoked {_day(facts['revoked_at'])}"
    if not facts["expires_at"]:
        return "good"
    ended = datetime.fromisoformat(facts["expires_at"]) <= datetime.now().astimezone()
    return f"{'expired' if ended else 'until'} {_day(facts['expires_at'])}"


def _day(time: str | None) -> str:
    return (time or "")[:10]
