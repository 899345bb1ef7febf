#!/usr/bin/env bash
# Installs what is needed, builds and runs every test. Can be run again.
. "$(dirname "$0")/common.sh"

usage() {
  cat <<'EOF'
usage: scripts/test.sh [CHECK]...
  --release     build in Release and run every test, Python's among them (what no argument does)
  --python      the tests of the Python package alone
  --asan        the same under AddressSanitizer and UndefinedBehaviorSanitizer; --asan=K/4 the K-th of every four tests
  --tsan        the same under ThreadSanitizer
  --fuzz        each fuzzer of tests/fuzz for 5 seconds, beginning with the corpus; --fuzz=SECONDS for longer
  --format      clang-format would change nothing
  --tidy        clang-tidy over the C++ files that changed against origin/main; over every one where nothing did
  --tidy=all    clang-tidy over every C++ file; --tidy=K/4 over the K-th of every four
EOF
}

# run_tests PRESET [K/4]: every test, or the K-th of every four.
run_tests() {
  install_packages build
  configure "$1"
  build "$1"
  say "Testing build/$1${2:+ ($2)}"
  ctest --preset "$1" -j "$(nproc)" --progress ${2:+-I "${2%/4},,4"} || die "tests failed; what they said is above"
}

# The Python package in a virtual environment of its own. Where PyPI cannot be reached it is left out.
check_python() {
  install_packages build
  install_packages python
  local venv=build/python-venv
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || die "python3 -m venv failed; its message is above"
  if ! "$venv/bin/python" -c 'import mypy, nanobind, numpy, pytest' 2>/dev/null &&
    ! "$venv/bin/pip" install -q nanobind numpy pytest mypy; then
    say "The Python tests are left out: PyPI could not be reached"
    return 0
  fi
  say "Building the Python package"
  cmake --preset release -DDIFFLLAMA_PYTHON=ON -DPython_EXECUTABLE="$PWD/$venv/bin/python" >/dev/null ||
    die "cmake --preset release failed; its messages are above"
  build release diffllama_python
  say "Testing the Python package"
  PYTHONPATH=build/release/python "$venv/bin/python" -m pytest -q python/tests ||
    die "Python tests failed; what they said is above"
}

sources() { git ls-files --cached --others --exclude-standard "$@"; }

check_format() {
  install_packages lint
  say "Checking the format of every C++ file"
  sources '*.h' '*.cpp' | xargs -r clang-format --dry-run --Werror ||
    die "clang-format -i would change the lines above"
}

# The commit that changes are counted from; nothing where HEAD is main itself or there is no origin.
base_commit() {
  local main
  main=$(git rev-parse -q --verify origin/main) && [ "$main" != "$(git rev-parse HEAD)" ] && git merge-base "$main" HEAD
}

# The .cpp files that changed since commit $1, and those that include a header that did.
changed_sources() {
  local changed headers
  changed=$(git diff --name-only --diff-filter=d "$1"; git ls-files --others --exclude-standard)
  headers=$(grep -E '\.h$' <<<"$changed" | sed -E 's,^(src|include)/,,')
  {
    grep -E '\.cpp$' <<<"$changed"
    [ -z "$headers" ] || sources '*.cpp' | xargs -r grep -lF "$(sed 's/.*/#include "&"/' <<<"$headers")"
  } | sort -u
}

check_tidy() {
  install_packages build
  install_packages lint
  configure release
  local base files which=$1
  base=$([ "$1" != changed ] || base_commit)
  if [ -n "$base" ]; then
    files=$(changed_sources "$base")
    which="changed since $(git log -1 --format='%h, %cr' "$base")"
  else
    files=$(sources '*.cpp')
    case $1 in
      [1-4]/4) files=$(awk -v k="${1%/4}" 'NR % 4 == k % 4' <<<"$files") ;;
      *) which=all ;;
    esac
  fi
  # Not part of this build: projects of their own, the Python module, and what preset fuzz alone compiles.
  files=$(grep -v -e '^examples/' -e '^python/' -e '^tests/fuzz/libfuzzer.cpp' <<<"$files")
  say "clang-tidy over $(grep -c . <<<"$files") files ($which)"
  [ -n "$files" ] || return 0
  # The analyzer walks every path of the macros of GoogleTest and Google Benchmark: most of the time, and no finding of
  # ours. Tests and benchmarks go without it.
  {
    grep -Ev '_test\.cpp$|^benchmarks/' <<<"$files" | sed 's/$/ --checks=/'
    grep -E '_test\.cpp$|^benchmarks/' <<<"$files" | sed 's/$/ --checks=-clang-analyzer-*/'
  } | xargs -r -P "$(nproc)" -L 1 clang-tidy --quiet -p build/release 2> >(grep -v 'warnings\? generated' >&2) ||
    die "clang-tidy found what stands above"
}

[ $# -gt 0 ] || set -- --release
for check in "$@"; do
  case $check in
    --release) run_tests release && check_python ;;
    --python) check_python ;;
    --asan) run_tests asan ;;
    --asan=[1-4]/4) run_tests asan "${check#--asan=}" ;;
    --tsan) run_tests tsan ;;
    --fuzz) run_fuzzers 5 build/fuzz/corpus ;;
    --fuzz=*[!0-9]* | --fuzz=) usage >&2; printf 'test.sh: expected --fuzz=SECONDS, got %s\n' "$check" >&2; exit 2 ;;
    --fuzz=*) run_fuzzers "${check#--fuzz=}" build/fuzz/corpus ;;
    --format) check_format ;;
    --tidy) check_tidy changed ;;
    --tidy=all | --tidy=[1-4]/4) check_tidy "${check#--tidy=}" ;;
    -h | --help) usage ;;
    *) usage >&2; printf 'test.sh: expected a check listed above, got %s\n' "$check" >&2; exit 2 ;;
  esac
done
