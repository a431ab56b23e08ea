"""Many jobs from a file: each row rendered once, however often the run is broken off and taken up again."""

from client.batch_file.rows import Row, read_rows
from client.batch_file.run import BatchRun, Report
from client.batch_file.state import BatchState, state_path

__all__ = ["BatchRun", "BatchState", "Report", "Row", "read_rows", "state_path"]
