"""Run the jobs of a job file; each row is rendered once, however often the run is interrupted and resumed."""

from imagefarm.job_file.rows import Row, read_rows
from imagefarm.job_file.run import JobFileRun, RowReport
from imagefarm.job_file.state import JobFileState, state_path

__all__ = ["JobFileRun", "JobFileState", "Row", "RowReport", "read_rows", "state_path"]
