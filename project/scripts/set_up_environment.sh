#!/usr/bin/env bash
# Makes .venv from requirements.lock, or finds that it is as it should be; `--fresh` starts from nothing.
# The stamp .venv/.installed holds the checkout's folder; the Makefile calls this when it is missing or old.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$(pwd -P)
stamp=.venv/.installed
log=

say() { printf '%s\n' "$*" >&2; }

# Succeeds where $1 runs, is Python 3.11 to 3.13 and can make environments.
fits() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

version_of() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if fits "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  say "error: no Python from 3.11 to 3.13 was found. Tried:"
  for candidate in python3 python3.13 python3.12 python3.11; do
    if ! command -v "$candidate" >/dev/null; then
      say "  - $candidate: not there"
    elif version=$(version_of "$candidate"); then
      say "  - $candidate: is $version, or lacks the modules venv and ensurepip"
    else
      say "  - $candidate: does not run"
    fi
  done
  say "Install one of them (on Debian and Ubuntu also its python3-venv package), then run the same command again."
  return 1
}

# Succeeds where .venv works, lies where it was made and has exactly the locked versions.
is_good() {
  [ -x .venv/bin/backtest ] &&
    { [ ! -e "$stamp" ] || [ "$(cat "$stamp")" = "$here" ]; } &&
    .venv/bin/python project/scripts/requirements.py installed >/dev/null 2>&1 &&
    .venv/bin/backtest --help >/dev/null 2>&1
}

# Runs a command silently; where it fails shows what it printed.
quietly() {
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    say "error: setting up .venv failed at: $*"
    say "The cause stands above; with the network or the index at fault, run the same command again later."
    return 1
  fi
}

if [ "${1:-}" != --fresh ] && is_good; then
  printf '%s\n' "$here" >"$stamp"
  exit
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
make_anew=no
if [ "${1:-}" = --fresh ] || { [ -e "$stamp" ] && [ "$(cat "$stamp")" != "$here" ]; } ||
  ! .venv/bin/python -c '' 2>/dev/null; then
  make_anew=yes
elif ! fits .venv/bin/python; then
  say "error: .venv has Python $(version_of .venv/bin/python), which is not from 3.11 to 3.13, or lacks ensurepip."
  say "Remove it with: rm -rf .venv"
  exit 1
fi

python=.venv/bin/python
[ "$make_anew" = no ] || python=$(find_python)
say "setting up .venv with Python $(version_of "$python"): about 300 MB to download, one to three minutes …"
[ "$make_anew" = no ] || quietly "$python" -m venv --clear .venv
rm -f "$stamp"
.venv/bin/python -m pip --version >/dev/null 2>&1 || quietly .venv/bin/python -m ensurepip
export PIP_DISABLE_PIP_VERSION_CHECK=1
quietly .venv/bin/python -m pip install --require-hashes -r requirements.lock
quietly .venv/bin/python -m pip install --no-deps --no-build-isolation -e .
quietly .venv/bin/python project/scripts/requirements.py installed
printf '%s\n' "$here" >"$stamp"
say "set up: .venv"
