# Set PYTHON to an interpreter that can run the farm, or exit with a message. Source this from the project's root.

works() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

PYTHON=""
for candidate in "${IMAGEFARM_PYTHON:-}" .venv/bin/python python3 python3.12 python3.11 python3.13 python; do
  if [ -n "$candidate" ] && works "$candidate"; then
    PYTHON="$candidate"
    break
  fi
done
if [ -z "$PYTHON" ]; then
  echo "imagefarm: found no Python 3.11 or newer (python3 is $(python3 --version 2>&1 || true))." >&2
  echo "imagefarm: install one (Debian, Ubuntu: apt install python3 python3-venv) or set IMAGEFARM_PYTHON to its path." >&2
  exit 1
fi
