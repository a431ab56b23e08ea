"""The largest image that a worker's memory holds, as a condition on jobs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, BindParameter, ColumnElement, bindparam, case, func

from db.tables import Job, Worker


@dataclass(frozen=True)
class SizeLimit:
    """Pixels without and with guidance. Where nothing is known, None takes its place, and every job may be tried."""

    pixels: int
    guided: int

    @property
    def parameters(self) -> dict[str, int]:
        """Return the values of `fits`."""
        return {"most_pixels": self.pixels, "most_guided": self.guided}


def fits() -> ColumnElement[bool]:
    """Match jobs whose images fit; the parameters are those of a SizeLimit. Enlarging jobs have no such limit."""
    return _pixels() <= _by_guidance(_parameter("most_pixels"), _parameter("most_guided"))


def fits_on_worker() -> ColumnElement[bool]:
    """Match pairs of a job and a row of `Worker` that reports no limit, or one that holds the job's images."""
    reported = (func.coalesce(Worker.info[name].as_integer(), 0) for name in ("max_pixels", "max_pixels_guided"))
    limit = _by_guidance(*reported)
    return (limit == 0) | (_pixels() <= limit)


def _parameter(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger())


def _pixels() -> ColumnElement[int]:
    return func.coalesce(Job.input["width"].as_integer() * Job.input["height"].as_integer(), 0)


def _by_guidance(plain: ColumnElement[int], guided: ColumnElement[int]) -> ColumnElement[int]:
    return case((func.coalesce(Job.input["guidance_scale"].as_float(), 1.0) > 1.0, guided), else_=plain)
