"""Fair order between owners: start-time fair queueing over whole jobs.

Each queued job has a `turn`, its virtual start time within its model and priority. A new job's turn is one after its
owner's last queued one, but never before the turn being served now. An owner with ten thousand jobs holds turns 1 to 10,000;
another owner's first job gets the turn being served and starts next. Claims take the lowest turn, oldest job first.

After Goyal, Vin, Cheng: Start-time Fair Queueing (SIGCOMM 1996), with every job of weight and cost one.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, case, func, select

from db.sql import QUEUED
from db.tables import Job

_Text = str | ColumnElement[str]
_Number = int | ColumnElement[int]


def next_turn(owner: _Text, model: _Text, priority: _Number) -> ColumnElement[int]:
    """Return the turn of a job submitted now, as an SQL expression for its INSERT; two index look-ups."""
    lane = (QUEUED, Job.model == model, Job.priority == priority)
    # A retried job keeps its old turn, which must not set the clock back for all owners.
    served = select(Job.turn).where(*lane, Job.attempt == 0).order_by(Job.turn).limit(1).scalar_subquery()
    last = select(Job.turn).where(*lane, Job.owner == owner).order_by(Job.turn.desc()).limit(1).scalar_subquery()
    zero, one = 0, 1
    return _greatest(func.coalesce(served, zero), func.coalesce(last + one, zero))


def _greatest(left: ColumnElement[int], right: ColumnElement[int]) -> ColumnElement[int]:
    # GREATEST and two-argument MAX differ between the databases; CASE does not.
    return case((left >= right, left), else_=right)
