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

# run_fuzzers SECONDS CORPUS: each fuzzer for so long, from tests/fuzz/corpus and from CORPUS/TARGET, which keeps what it
# gains. Findings stay in build/fuzz/findings; a fixed one goes into tests/fuzz/corpus.
run_fuzzers() {
  install_packages build
  install_packages fuzz
  CXX=clang++ configure fuzz
  build fuzz
  local folder target program found=build/fuzz/findings
  for folder in tests/fuzz/corpus/*/; do
    target=$(basename "$folder")
    program=build/fuzz/tests/fuzz/fuzz_$target
    say "Fuzzing $target for $1 s"
    mkdir -p "$found/$target" "$2/$target"
    "$program" -max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
      -artifact_prefix="$found/$target/" "$2/$target" "$folder" >"$found/$target.log" 2>&1 ||
      die "fuzz_$target found $(ls "$found/$target"); it said: $(tail -n 40 "$found/$target.log")"
    grep -E 'number_of_executed_units|peak_rss' "$found/$target.log"
  done
}

# minimise_corpora CORPUS: of what the fuzzers kept in CORPUS/TARGET the files that reach something of their own.
minimise_corpora() {
  local folder target
  for folder in tests/fuzz/corpus/*/; do
    target=$(basename "$folder")
    rm -rf "$1/$target.new"
    mkdir "$1/$target.new"
    "build/fuzz/tests/fuzz/fuzz_$target" -merge=1 -rss_limit_mb=2048 "$1/$target.new" "$1/$target" \
      >"build/fuzz/findings/$target.merge.log" 2>&1 || die "fuzz_$target -merge=1 said: $(tail "build/fuzz/findings/$target.merge.log")"
    rm -rf "${1:?}/$target"
    mv "$1/$target.new" "$1/$target"
    say "$target: $(find "$1/$target" -type f | wc -l) files"
  done
}
