# Shared by the scripts beside it, which source it. They run from the repository's root, and stop with one line that
# says what is missing.
set -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '==> %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# at_least MINIMUM FOUND: whether version FOUND is MINIMUM or newer.
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# packages SECTION: what packages.txt names there.
packages() { awk -v section="[$1]" '/^\[/ {use = $1 == section} /^[a-z]/ && use {print $1}' packages.txt; }

# install_packages SECTION: installs what this machine lacks of it.
install_packages() {
  command -v apt-get >/dev/null ||
    die "expected Debian 12 or a relative with apt-get; elsewhere install what packages.txt names, then cmake --preset release"
  local package missing=() sudo=() log
  for package in $(packages "$1"); do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "expected root or sudo, to install ${missing[*]}"
    sudo=(sudo)
  fi
  say "Installing ${missing[*]}"
  log=$(mktemp)
  "${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 || true  # the lists at hand may do
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
    install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 ||
    die "apt-get could not install ${missing[*]}: $(grep -E '^(E|Err|sudo):' "$log" | tail -n 1) (all it said: $log)"
  rm -f "$log"
}

# configure PRESET: writes build/PRESET.
configure() {
  local compiler=${CXX:-g++} version
  version=$(cmake --version 2>/dev/null | awk 'NR == 1 {print $3}')
  at_least 3.25 "$version" || die "expected cmake 3.25 or newer, found version '$version'"
  version=$("$compiler" -dumpversion 2>/dev/null)
  at_least 12 "$version" || die "expected $compiler 12 or newer, found version '$version'; set CXX to a newer compiler"
  say "Configuring build/$1"
  cmake --preset "$1" >/dev/null || die "cmake --preset $1 failed; its messages are above"
}

# build PRESET [TARGET]: everything, or one target.
build() {
  say "Building build/$1"
  cmake --build --preset "$1" -j "$(nproc)" ${2:+--target "$2"} ||
    die "the build of build/$1 failed; its messages are above"
}
