"""Migrations of an empty database match the tables in the code, and can be reverted, on both databases."""

from __future__ import annotations

import threading
from contextlib import suppress

from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from core.errors import Unavailable
from db.database import Database
from db.migrate import alembic_config, differences, downgrade, upgrade
from db.schema_revision import head_revision, is_known_revision, is_newest


def test_an_upgrade_from_empty_matches_the_tables(database_url: str) -> None:
    database = Database(database_url)
    assert not is_newest(database)
    upgrade(database_url, "0013")
    assert not is_newest(database)
    upgrade(database_url)
    assert is_newest(database)
    database.dispose()
    assert differences(database_url) == []


def test_names_of_migrations_tell_their_revisions() -> None:
    script = ScriptDirectory.from_config(alembic_config())
    assert head_revision() == script.get_current_head()
    assert all(is_known_revision(step.revision) for step in script.walk_revisions())


def test_a_downgrade_to_empty_can_be_upgraded_again(database_url: str) -> None:
    upgrade(database_url)
    downgrade(database_url, "base")
    database = Database(database_url)
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    database.dispose()
    upgrade(database_url)
    assert differences(database_url) == []


def test_two_processes_that_migrate_at_once_do_not_collide(database_url: str) -> None:
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            upgrade(database_url)
        except BaseException as error:  # noqa: BLE001 -- reported below
            errors.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert differences(database_url) == []


def test_a_deadlock_with_a_running_farm_is_tried_again(fresh_postgres: str) -> None:
    """The farm's transaction holds `workers` and then wants `jobs`, which the migrations have locked; those end first."""
    upgrade(fresh_postgres, "0010")
    database = Database(fresh_postgres)
    with database.write() as session:
        session.execute(text(f"ALTER DATABASE \"{database.url.database}\" SET deadlock_timeout = '3s'"))
    migration = threading.Thread(target=upgrade, args=(fresh_postgres,))
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'workers'::regclass")
    with suppress(Unavailable), database.write() as session:
        session.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        session.execute(text("LOCK TABLE workers IN ROW EXCLUSIVE MODE"))
        migration.start()
        while not session.scalar(waits):
            assert migration.is_alive()
        session.execute(text("LOCK TABLE jobs IN ROW EXCLUSIVE MODE"))
    migration.join()
    database.dispose()
    assert differences(fresh_postgres) == []


def test_rows_of_the_first_version_get_lanes_hosts_and_uploads(database_url: str) -> None:
    upgrade(database_url, "0002")
    database = Database(database_url)
    job = (
        "INSERT INTO jobs (id, owner, model, priority, turn, status, revision, attempt, max_attempts, attempts_free, "
        "available_at, created_at, prompt, input, requested, warnings) "
        "VALUES (:id, 'ann', 'demo', 5, 0, 'queued', 1, 0, 3, 0, 1.0, 1.0, 'x', :input, '{}', '[]')"
    )
    delivery = (
        "INSERT INTO webhook_deliveries (id, job_id, revision, target, owner, url, secret, event, status, tries, "
        "created_at) VALUES ('d', 'j1', 1, 'job', 'ann', 'https://Hook.example:8443/x', 'whsec_plain', 'job.failed', "
        "'pending', 0, 1.0)"
    )
    with database.write() as session:
        for job_id, given in (("j1", '{"init_image": {"upload_id": "u1", "key": "k"}}'), ("j2", '{"seed": 1}')):
            session.execute(text(job), {"id": job_id, "input": given})
        session.execute(text(delivery))
    upgrade(database_url)
    with database.read() as session:
        assert session.execute(text("SELECT id, upload_id, face FROM jobs ORDER BY id")).all() == [
            ("j1", "u1", None),
            ("j2", None, None),
        ]
        row = session.execute(text("SELECT * FROM webhook_deliveries")).mappings().one()
    assert (row["lane"], row["host"], row["status"]) == ("ann", "hook.example", "pending")
    assert "secret" not in row
    database.dispose()
    downgrade(database_url, "0002")
    upgrade(database_url)
    assert differences(database_url) == []
