"""The database's clock as an SQL expression: hosts may disagree about the time, the database does not."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[float]):  # noqa: N801 -- reads as the SQL function it is
    """Seconds since 1970 as a double; moves on from statement to statement."""

    type = Double()
    inherit_cache = True
    name = "epoch_now"


@compiles(now, "postgresql")
def _postgres(element: now, compiler: Any, **kw: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's own signature
    # Not clock_timestamp(): a volatile function cannot bound an index range.
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: Any, **kw: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's own signature
    # unixepoch('subsec') is NULL before SQLite 3.42, which Debian 12 does not have.
    return "((julianday('now') - 2440587.5) * 86400.0)"
