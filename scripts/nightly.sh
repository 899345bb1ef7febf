#!/usr/bin/env bash
# What takes too long for every change. Builds, then runs the checks that are named; can be run again.
. "$(dirname "$0")/common.sh"

usage() {
  cat <<'EOT'
usage: scripts/nightly.sh [CHECK]...
  --kills        ends convert, quantize, forward and the writing of packed copies 200 times by SIGKILL and 200 times by
                 SIGTERM, each at a random moment: no file that is not whole, nothing left behind; --kills=COUNT for
                 another number
  --schedules    2000 random schedules of an engine's requests: each has the bits of running it alone, and no block is
                 left; --schedules=COUNT for another number
Without a check: all of them.
EOT
}

run_kills() {
  say "Ending commands $1 times by SIGKILL and by SIGTERM"
  bash tests/cli/kills.sh build/release/bin/diffllama . "$1" || die "a killed command left something wrong"
}

run_schedules() {
  say "Running $1 random schedules"
  DIFFLLAMA_SCHEDULES=$1 build/release/src/engine_test --gtest_filter='RandomSchedules.*' ||
    die "a schedule changed a request; DIFFLLAMA_SCHEDULE_SEED, printed above, repeats it"
}

[ $# -gt 0 ] || set -- --kills --schedules
for check in "$@"; do
  case $check in
    --kills | --kills=[0-9]*) ;;
    --schedules | --schedules=[0-9]*) ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; printf 'nightly.sh: expected a check listed above, got %s\n' "$check" >&2; exit 2 ;;
  esac
done
install_packages build
configure release
build release
for check in "$@"; do
  case $check in
    --kills) run_kills 200 ;;
    --kills=*) run_kills "${check#--kills=}" ;;
    --schedules) run_schedules 2000 ;;
    --schedules=*) run_schedules "${check#--schedules=}" ;;
  esac
done
