"""`imagefarm db`: the database's tables."""

from __future__ import annotations

import typer

from cli.exit_codes import ExitCode
from cli.options import load_settings

group = typer.Typer(no_args_is_help=True, help="The database's tables.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="db", rich_help_panel="Parts, for running them apart")


@group.command()
def upgrade() -> int:
    """Bring the tables up to this version; safe to run again, and from several machines at once.

    `imagefarm up` does this by itself.
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
def check() -> int:
    """Say whether the tables match this version; exit code 1 when they do not."""
    from db import migrate

    found = migrate.differences(load_settings().resolved_database_url)
    for difference in found:
        typer.echo(str(difference))
    typer.echo("The tables differ: run `imagefarm db upgrade`." if found else "The tables match.")
    return ExitCode.FAILED if found else ExitCode.OK
