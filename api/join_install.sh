#!/bin/sh
# Install imagefarm @VERSION@ unless it is here already, and join the farm that this script came from.
# Arguments: the token of `imagefarm join-command`, then options of `imagefarm join`.
set -eu
farm=@FARM@
token=${1:?the token of imagefarm join-command is missing}
shift
home=${IMAGEFARM_HOME:-$HOME/imagefarm}

say() { printf 'imagefarm: %s\n' "$1" >&2; }
get() {
  code=$(curl -sS -H "Authorization: Bearer $token" -o "$2" -w '%{http_code}' "$farm/v1/join/$1") || exit 1
  [ "$code" = 200 ] && return
  say "the farm answered $code: the token is unknown, expired or used up; run imagefarm join-command there again."
  exit 1
}

mkdir -p "$home"
cd "$home"
umask 077
installed=$(.venv/bin/python -c 'from core.version import VERSION; print(VERSION)' 2>/dev/null || true)
if [ "$installed" != "@VERSION@" ]; then
  python=
  for each in python3.12 python3.11 python3; do
    if "$each" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$each
      break
    fi
  done
  if [ -z "$python" ]; then
    say "Python 3.11 or later with venv is missing: install it (python3.12-venv, or the like), then run this line again."
    exit 1
  fi
  package=$(mktemp -d)
  trap 'rm -rf "$package"' EXIT
  get package "$package/imagefarm-@VERSION@-py3-none-any.whl"
  get constraints "$package/constraints.txt"
  say "installing imagefarm @VERSION@ into $home/.venv; PyTorch takes some minutes"
  "$python" -m venv .venv
  .venv/bin/python -m pip install --disable-pip-version-check --upgrade -c "$package/constraints.txt" \
    "$package/imagefarm-@VERSION@-py3-none-any.whl[@EXTRAS@]" >&2  # It shows what it downloads: gigabytes where there is a GPU.
  rm -rf "$package"
  trap - EXIT
fi
exec .venv/bin/imagefarm join "$farm" "$token" "$@"
