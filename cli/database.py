"""`imagefarm db`: create, migrate and check the database's tables."""

from __future__ import annotations

import typer

from cli.exit_codes import ExitCode
from cli.options import PARTS_PANEL, load_settings
from cli.requirements import needs

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

    settings = load_settings()
    if not settings.database_url:
        from supervisor.data_dir import prepare

        prepare(settings.data_dir)
    migrate.upgrade(settings.resolved_database_url)
    typer.echo("The tables are up to date.")
    return ExitCode.OK


@group.command()
@needs("server")
def check() -> int:
    """Check whether the tables match this version; exit code 1 when they do not."""
    from db import migrate

    found = migrate.differences(load_settings().resolved_database_url)
    for difference in found:
        typer.echo(str(difference))
    typer.echo("The tables differ: run `imagefarm db upgrade`." if found else "The tables match.")
    return ExitCode.FAILED if found else ExitCode.OK
