"""Base class of the tables: names of constraints, and common column types."""

from __future__ import annotations

from typing import Annotated, Any

from sqlalchemy import JSON, Double, MetaData, String
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
