"""Base class of the tables: names of constraints, and common column types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, cast

from sqlalchemy import JSON, Double, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase, mapped_column

_JSON = JSON(none_as_null=True)

Id = Annotated[str, mapped_column(String(36))]
EpochSeconds = Annotated[float, mapped_column(Double)]
"""Seconds since 1970 on the database's clock (`db.sql.now`)."""
JsonObject = dict[str, Any]


class Base(DeclarativeBase):
    """Declarative base; constraints get predictable names, which migrations refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {JsonObject: _JSON, list[str]: _JSON}  # noqa: RUF012 -- SQLAlchemy reads a plain dict


T = TypeVar("T", bound=Base)


def detached(cls: type[T], values: Mapping[str, Any]) -> T:
    """Return an object of the table that belongs to no session, as if loaded; the ORM's constructor takes longer."""
    row = cls()
    vars(row).update(values)
    return row


def core_table(cls: type[Base]) -> Table:
    """Return the Core table: statements over it avoid the ORM's overhead, which costs more than running them."""
    return cast("Table", cls.__table__)
