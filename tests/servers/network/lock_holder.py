"""Lock a job's row as a claim does, and never commit: `python -m tests.servers.network.lock_holder DATABASE_URL JOB_ID`."""

from __future__ import annotations

import signal
import sys

from sqlalchemy import select

from db.database import Database
from db.tables import Job

if __name__ == "__main__":
    with Database(sys.argv[1], pool_size=1).write() as session:
        session.execute(select(Job.id).where(Job.id == sys.argv[2]).with_for_update())
        sys.stdout.write("locked\n")
        sys.stdout.flush()
        signal.pause()
