#!/usr/bin/env bash
# Start the whole farm from a fresh checkout: create .venv, install the extra `all` with pinned dependencies, then run
# `imagefarm up`. Options are those of `imagefarm up`, such as --port 8000; --help lists them.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
. scripts/python.sh
"$PYTHON" scripts/bootstrap.py
exec .venv/bin/python -m cli up "$@"
