"""`python -m worker.engine FD`: what EngineProcess runs."""

import os
import sys

from worker.engine.process import main

if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # Daemon threads and device contexts are not worth waiting for.
