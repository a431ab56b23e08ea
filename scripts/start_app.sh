#!/usr/bin/env bash
# Start the whole farm from a fresh checkout: create .venv, install the extra `all` with pinned dependencies, then run
# `imagefarm up`. Options are those of `imagefarm up`, such as --port 8000; --help lists them. Every finished image appears
# in outputs/, unless IMAGEFARM_OUTPUTS_DIR names another folder or is empty.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
. scripts/python.sh
"$PYTHON" scripts/bootstrap.py
if [ -z "${IMAGEFARM_OUTPUTS_DIR+set}" ] && ! grep -Eqis '^[[:space:]]*(export[[:space:]]+)?IMAGEFARM_OUTPUTS_DIR[[:space:]]*=' .env; then
  export IMAGEFARM_OUTPUTS_DIR=outputs
fi
exec .venv/bin/python -m cli up "$@"
