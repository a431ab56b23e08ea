"""Entry point of the engine process: `python -m worker.engine FD`."""

import gc
import os
import sys

gc.disable()  # A tenth of the time that imports take; `EngineModels` enables it again once they are done.

from worker.engine.process import main  # noqa: E402

if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # Skips waiting for daemon threads and device contexts.
