"""`imagefarm db`: create, migrate and check the database's tables."""

from __future__ import annotations

import typer

from cli.exit_codes import ExitCode
from cli.options import PARTS_PANEL, load_private_settings, needs

group = typer.Typer(no_args_is_help=True, help="Migrate and check the database's tables.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="db", rich_help_panel=PARTS_PANEL)


@group.command()
@needs("server")
def upgrade() -> int:
    """Migrate the tables to this version; safe to repeat, and to run from several machines at once.

    `imagefarm up` does this on every start.
    """
    from db import migrate

    settings = load_private_settings()
    if not settings.database_url:
        from supervisor.data_dir import prepare

        prepare(settings.data_dir)
    migrate.upgrade(settings.resolved_database_url)
    typer.echo("The tables are up to date.")
    return ExitCode.OK


@group.command()
@needs("server")
def check() -> int:
    """Check that the database is whole and its tables match this version; exit code 1 when not. It changes nothing."""
    from db import health, migrate
    from db.database import Database

    url = load_private_settings().resolved_database_url
    database = Database(url, pool_size=1)
    try:
        if not health.exists(database):
            typer.echo(f"There is no database at {database.url.database} yet: run `imagefarm db upgrade`.")
            return ExitCode.FAILED
        health.check(database, thorough=True)
    finally:
        database.dispose()
    found = migrate.differences(url)
    for difference in found:
        typer.echo(str(difference))
    typer.echo("The tables differ: run `imagefarm db upgrade`." if found else "The tables match.")
    return ExitCode.FAILED if found else ExitCode.OK
