"""`imagefarm keys`: who may use the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.settings import load_settings
from core.keys import DEFAULT_SCOPES, Scope

if TYPE_CHECKING:
    from db.database import Database

group = typer.Typer(no_args_is_help=True, help="API keys: once there is one, every caller needs one.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="keys", rich_help_panel="The farm")


@group.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, for the list.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it allows; repeat it.")] = None,
    owner: Annotated[str, typer.Option(help="Keys of one owner see the same jobs. Empty: an owner of its own.")] = "",
    max_queued: Annotated[int | None, typer.Option(min=1, help="Jobs that may wait at once.")] = None,
    per_minute: Annotated[int | None, typer.Option(min=1, help="Jobs that may be submitted a minute.")] = None,
    pixels_per_day: Annotated[int | None, typer.Option(min=1, help="Pixels that may be rendered a day (UTC).")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires.")] = None,
) -> int:
    """Make a key and print it, once: it is stored only as a hash.

    Example: `imagefarm keys create studio --scope submit --scope read-own --max-queued 100`
    """
    from db.keys import NewKey, create_key

    new = NewKey(
        name=name,
        owner=owner,
        scopes=tuple(scope or DEFAULT_SCOPES),
        max_queued=max_queued,
        submits_per_minute=per_minute,
        pixels_per_day=pixels_per_day,
        expires_in_seconds=None if days is None else days * 86_400,
    )
    with _database() as database:
        row, key = create_key(database, new)
    typer.echo(
        f"Key {row.id} for '{row.name}' ({', '.join(row.scopes)}), owner {row.owner}. Keep it: it is not shown again.",
        err=True,
    )
    typer.echo(key)
    return ExitCode.OK


@group.command(name="list")
def list_all() -> int:
    """List the keys: never the keys themselves."""
    from db.keys import list_keys

    with _database() as database:
        rows = list_keys(database)
    for row in rows:
        state = "revoked" if row.revoked_at is not None else "good"
        typer.echo(f"{row.id}  {state:8}  {row.name}  owner={row.owner}  scopes={','.join(row.scopes)}")
    if not rows:
        typer.echo("There are no keys: callers on this machine need none.", err=True)
    return ExitCode.OK


@group.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id from `imagefarm keys list`.")]) -> int:
    """Make a key useless, within seconds."""
    from db.keys import revoke_key

    with _database() as database:
        row = revoke_key(database, key_id)
    typer.echo(f"Key {row.id} for '{row.name}' is revoked.")
    return ExitCode.OK


@contextmanager
def _database() -> Iterator[Database]:
    from db import migrate
    from db.database import Database

    url = load_settings().resolved_database_url
    migrate.upgrade(url)
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()
