"""The S3-compatible server as a program of a host: `python -m tests.servers.network.s3_program ADDRESS PORT FULL [KEEP]`.

While the file FULL exists, every file is refused, as a service does whose disks are full. Objects are in
the folder KEEP, too.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.servers.s3 import s3_server

if __name__ == "__main__":
    address, port, full = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    keep = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    if keep is not None:
        keep.mkdir(exist_ok=True)
    with s3_server(address, port, keep) as server:
        server.refuse = lambda request: request.startswith(("PUT ", "POST ")) and full.exists()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
