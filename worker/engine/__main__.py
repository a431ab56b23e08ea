"""Entry point of the engine process: `python -m worker.engine FD`."""

import os
import sys

from worker.engine.process import main

if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # Skips waiting for daemon threads and device contexts.
