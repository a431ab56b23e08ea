#!/usr/bin/env bash
# Installs what the tests need and runs every check: style, types, room boundaries, migrations, tests. Stops at the
# first that fails. Arguments go to pytest: scripts/test.sh tests/unit -k ports
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
. scripts/python.sh
"$PYTHON" scripts/bootstrap.py dev
. .venv/bin/activate

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}" TOKENIZERS_PARALLELISM=false

check() {
  local name="$1" began=$SECONDS
  shift
  echo "== $name"
  if ! "$@"; then
    echo "== $name FAILED after $((SECONDS - began)) s: $*" >&2
    exit 1
  fi
  echo "== $name passed in $((SECONDS - began)) s"
}

has_browser() {
  command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome || command -v chrome; } >/dev/null
}

install_browser() {
  has_browser && return 0
  local root=""
  [ "$(id -u)" -eq 0 ] || root="sudo -n"
  if command -v apt-get >/dev/null && { [ -z "$root" ] || $root true 2>/dev/null; }; then
    $root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends \
      chromium chromium-driver fonts-noto-cjk >/dev/null
  fi
  has_browser && return 0
  echo "The page's tests drive a real browser: install chromium and chromedriver." >&2
  [ -z "${CI:-}" ] # elsewhere those tests are skipped, and pytest says so
}

check "browser" install_browser
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "mypy" mypy
check "import-linter" lint-imports
check "migrations" pytest -q --no-header -p no:cacheprovider tests/integration/db/test_migrations.py
echo "== tests"
exec pytest "$@"
