"""The farm's conscience: any number of reapers republish lost hints, requeue what dead workers held and clean up."""

from worker.reaper.main import run

__all__ = ["run"]
