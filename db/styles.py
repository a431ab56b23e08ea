"""Add, list, change, import and delete styles."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.ids import new_id
from core.styles import Style
from core.styles.styles import MAX_PER_OWNER
from db.database import Database
from db.sql import lock_name, now
from db.tables import StyleRow
from db.tables.styles import SHARED


def list_styles(database: Database, owner: str, names: Sequence[str] | None = None) -> Sequence[StyleRow]:
    """Return the owner's styles, then the shared ones, each by name; with `names` only those."""
    query = select(StyleRow).where(StyleRow.owner.in_([owner, SHARED])).order_by(StyleRow.owner.desc(), StyleRow.name)
    query = query.where(StyleRow.name.in_(names)) if names is not None else query
    with database.read() as session:
        return session.scalars(query).all()


def add_style(database: Database, owner: str, style: Style) -> StyleRow:
    """Add a style. Raises Conflict `style_exists` for a name that the owner has, `too_many_styles` at the limit."""
    with database.write() as session:
        lock_name(session, f"styles:{owner}")
        if style.name in _names(session, owner):
            raise _exists(style.name)
        _check_count(session, owner, 1)
        return _insert(session, owner, style)


def replace_style(database: Database, style_id: str, owners: Sequence[str], style: Style) -> StyleRow:
    """Change a style of one of `owners`. Raises NotFound, and Conflict when another one of its owner has the name."""
    with database.write() as session:
        row = _find(session, style_id, owners)
        lock_name(session, f"styles:{row.owner}")
        if _names(session, row.owner).get(style.name, style_id) != style_id:
            raise _exists(style.name)
        change = update(StyleRow).where(StyleRow.id == style_id).values(**_values(style), updated_at=now())
        return session.scalars(change.returning(StyleRow).execution_options(populate_existing=True)).one()


def remove_style(database: Database, style_id: str, owners: Sequence[str]) -> None:
    """Delete a style of one of `owners`. Raises NotFound."""
    with database.write() as session:
        _find(session, style_id, owners)
        session.execute(delete(StyleRow).where(StyleRow.id == style_id))


def import_styles(database: Database, owner: str, styles: Sequence[Style], *, replace: bool) -> dict[str, list[str]]:
    """Add styles in one transaction; return their names as `added`, `replaced` or `kept`. Raises Conflict at the limit."""
    found: dict[str, list[str]] = {"added": [], "replaced": [], "kept": []}
    with database.write() as session:
        lock_name(session, f"styles:{owner}")
        known = _names(session, owner)
        _check_count(session, owner, sum(style.name not in known for style in styles))
        for style in styles:
            if style.name not in known:
                _insert(session, owner, style)
                found["added"].append(style.name)
            elif replace:
                changed = update(StyleRow).where(StyleRow.id == known[style.name])
                session.execute(changed.values(**_values(style), updated_at=now()))
                found["replaced"].append(style.name)
            else:
                found["kept"].append(style.name)
    return found


def _names(session: Session, owner: str) -> dict[str, str]:
    """Return name -> id of the owner's styles."""
    return {row.name: row.id for row in session.execute(select(StyleRow.name, StyleRow.id).where(StyleRow.owner == owner))}


def _check_count(session: Session, owner: str, more: int) -> None:
    count = session.scalar(select(func.count()).select_from(StyleRow).where(StyleRow.owner == owner)) or 0
    if more and count + more > MAX_PER_OWNER:
        raise Conflict(
            f"There are {count} styles, and {more} more would exceed the limit of {MAX_PER_OWNER}: remove some first.",
            code="too_many_styles",
        )


def _insert(session: Session, owner: str, style: Style) -> StyleRow:
    values = {"id": new_id(), "owner": owner, **_values(style), "created_at": now(), "updated_at": now()}
    return session.scalars(insert(StyleRow).values(**values).returning(StyleRow)).one()


def _values(style: Style) -> dict[str, str]:
    return {"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}


def _find(session: Session, style_id: str, owners: Sequence[str]) -> StyleRow:
    row = session.get(StyleRow, style_id)
    if row is None or row.owner not in owners:
        raise NotFound("You have no style of this id; GET /v1/styles lists them.", code="style_not_found")
    return row


def _exists(name: str) -> Conflict:
    return Conflict(f"There is a style '{name}' already: change it, or choose another name.", code="style_exists")
