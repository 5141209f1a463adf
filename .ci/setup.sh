#!/usr/bin/env bash
# Makes .venv, the Python environment that holds vLLM, from a lock file with exact versions and hashes.
# A second run finds nothing to do. `--tests` also installs what only `make test` needs.
#
#   CEILING_PYTHON   the Python to build .venv from; otherwise the first fit one on PATH
#
# A .venv without a valid stamp (interrupted, other lock, other Python) is made anew: one way in, one state out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly UV_VERSION=0.13.9
# What the locked vLLM takes: at least the first, below the second. The worker itself also loads into 3.10.
readonly PYTHON_FROM=3.11 PYTHON_BELOW=3.15
readonly STAMP=.venv/.ceiling-setup
export UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"

missing=()
need() { missing+=("$1"$'\n'"      remedy: $2"); }
have() { command -v "$1" >/dev/null 2>&1; }

# Prints the version of a Python that vLLM takes, nothing for any other command.
fit_python_version() {
  "$1" - "$PYTHON_FROM" "$PYTHON_BELOW" 2>/dev/null <<'PYTHON' || true
import platform, sys
low, high = (tuple(map(int, v.split("."))) for v in sys.argv[1:])
if low <= sys.version_info[:2] < high:
    print(platform.python_version())
PYTHON
}

find_python() {
  local candidate
  for candidate in ${CEILING_PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
    if [[ -n "$(fit_python_version "$candidate")" ]]; then
      echo "$candidate"
      return
    fi
  done
}

older() { [[ "$1" != "$2" && "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" == "$1" ]]; }

check_rust() {
  local remedy="install Rust with rustup, or with your distribution's packages where they are new enough"
  if ! have cargo || ! have rustc; then
    need "cargo and rustc" "$remedy"
    return
  fi
  local wanted found
  wanted="$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml 2>/dev/null || true)"
  found="$(rustc --version | cut -d ' ' -f 2)"
  if [[ -n "$wanted" ]] && older "$found" "$wanted"; then
    need "Rust >= $wanted (found $found)" "run rustup update, or $remedy"
  fi
}

check_compiler() {
  have cc || need "a C compiler (cc)" "apt-get install build-essential, or the like of your distribution"
}

check_python() {
  local has_headers='import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
  local wanted="Python >= $PYTHON_FROM and < $PYTHON_BELOW"
  if [[ -z "$python" ]]; then
    if [[ -n "${CEILING_PYTHON:-}" ]]; then
      need "$wanted: CEILING_PYTHON=$CEILING_PYTHON is none" "name another, or unset it to use the one on PATH"
    else
      need "$wanted" "apt-get install python3 python3-venv python3-dev, or name one: CEILING_PYTHON=/path/to/python3 make setup"
    fi
    return
  fi
  # Triton, which vLLM uses on a GPU, compiles its launchers at run time.
  if [[ $lock == vllm-cuda.lock ]]; then
    "$python" -c "$has_headers" || need "the headers of $python (Python.h)" "apt-get install python3-dev, or name another Python by CEILING_PYTHON"
  fi
  if [[ -z "$uv" ]]; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
      need "the venv module of $python" "apt-get install python3-venv, or install uv"
  fi
}

check_test_tools() {
  have npm && node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null ||
    need "node >= 20 and npm (taplo and the tests of reports run on them)" "apt-get install nodejs npm, where that is new enough"
  [[ -n "$(find_chromium)" ]] || install_chromium || need "chromium (the tests open reports in it)" "as root: apt-get install chromium, or name another by CEILING_CHROMIUM"
  if have cargo; then
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
      need "rustfmt and clippy" "rustup component add rustfmt clippy"
  fi
}

find_chromium() {
  local candidate
  for candidate in ${CEILING_CHROMIUM:-chromium chromium-browser google-chrome}; do
    if have "$candidate"; then
      echo "$candidate"
      return
    fi
  done
}

# Only where it can be done without asking: as root, with Debian's packages.
install_chromium() {
  [[ $EUID == 0 && -z "${CEILING_CHROMIUM:-}" ]] && have apt-get || return 1
  echo "setup: chromium from the distribution's packages"
  apt-get install --yes --quiet=2 --no-install-recommends chromium >/dev/null || {
    apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends chromium >/dev/null
  }
}

stop_if_missing() {
  if ((${#missing[@]} == 0)); then return; fi
  echo "setup: missing on this machine:" >&2
  printf '  - %s\n' "${missing[@]}" >&2
  exit 1
}

find_uv() {
  if have uv; then
    echo uv
  elif [[ -x .tools/bin/uv && "$(.tools/bin/uv --version 2>/dev/null)" == "uv $UV_VERSION"* ]]; then
    echo .tools/bin/uv
  fi
}

install_uv() {
  echo "setup: uv $UV_VERSION into .tools"
  "$python" -m venv --clear .tools
  .tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
  uv=.tools/bin/uv
}

choose_lock() {
  if [[ -e /proc/driver/nvidia/version ]] || nvidia-smi -L >/dev/null 2>&1; then
    echo vllm-cuda.lock
  else
    echo vllm-cpu.lock
  fi
}

stamp_for() { echo "$lock $(sha256sum <"$lock" | cut -d ' ' -f 1) python $1"; }

# True where .venv was finished from this lock by a Python of the version that it still runs, and nobody asks for another.
venv_is_current() {
  [[ -f $STAMP && -x .venv/bin/python ]] || return 1
  local version
  version="$(fit_python_version .venv/bin/python)"
  [[ -n "$version" && "$(<$STAMP)" == "$(stamp_for "$version")" ]] || return 1
  [[ -z "${CEILING_PYTHON:-}" || "$(fit_python_version "$CEILING_PYTHON")" == "$version" ]]
}

# Two runs at once would clear the environment under each other's hands: the second waits, and finds it made.
wait_for_others() {
  if ! have flock; then return; fi
  exec 9<.ci/setup.sh
  flock 9
}

make_venv() {
  echo "setup: .venv from $lock with $python: some GB to download the first time, 6 to 8 GB on disk"
  rm -f "$STAMP"
  "$uv" venv --quiet --clear --no-project --python "$python" .venv
  "$uv" pip sync --quiet --python .venv/bin/python --require-hashes --only-binary :all: "$lock"
  stamp_for "$(fit_python_version .venv/bin/python)" >"$STAMP"
  echo "setup: .venv is ready"
}

# What tests read results with, apart from .venv: vLLM's environment holds what a user's would.
tests_venv_is_current() {
  [[ -x .venv-tests/bin/python && -f .venv-tests/.ceiling-setup && "$(<.venv-tests/.ceiling-setup)" == "$(tests_stamp)" ]]
}

tests_stamp() { sha256sum <.ci/tests.lock; }

make_tests_venv() {
  echo "setup: .venv-tests from .ci/tests.lock"
  uv="$(find_uv)"
  python=.venv/bin/python
  if [[ -z "$uv" ]]; then install_uv; fi
  "$uv" venv --quiet --clear --no-project --python .venv/bin/python .venv-tests
  "$uv" pip sync --quiet --python .venv-tests/bin/python --require-hashes --only-binary :all: .ci/tests.lock
  tests_stamp >.venv-tests/.ceiling-setup
}

node_modules_are_current() { [[ -x node_modules/.bin/taplo && -d node_modules/playwright-core && ! package-lock.json -nt node_modules/.package-lock.json ]]; }

with_tests=no
case "${1:-}" in
"") ;;
--tests) with_tests=yes ;;
*)
  echo "usage: $0 [--tests]" >&2
  exit 2
  ;;
esac

lock="$(choose_lock)"
wait_for_others
check_rust
check_compiler
if [[ $with_tests == yes ]]; then check_test_tools; fi
if venv_is_current; then
  stop_if_missing
else
  uv="$(find_uv)"
  python="$(find_python)"
  check_python
  stop_if_missing
  if [[ -z "$uv" ]]; then install_uv; fi
  make_venv
fi
if [[ $with_tests == yes ]]; then
  node_modules_are_current || npm ci --silent
  tests_venv_is_current || make_tests_venv
fi
