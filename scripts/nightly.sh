#!/usr/bin/env bash
# What takes too long for every change. Builds, then runs the checks that are named; can be run again.
. "$(dirname "$0")/common.sh"

corpus=${DIFFLLAMA_FUZZ_CORPUS:-build/fuzz/corpus}

usage() {
  cat <<EOT
usage: scripts/nightly.sh [CHECK]...
  --kills        ends convert, quantize, forward and the writing of packed copies 200 times by SIGKILL and 200 times by
                 SIGTERM, each at a random moment: no file that is not whole, nothing left behind. Then train as many
                 times: every run that goes on ends with the same bytes. --kills=COUNT for another number
  --fuzz         each fuzzer of tests/fuzz for 10 minutes, beginning with its corpus and with what earlier nights have
                 gained, which lies in \$DIFFLLAMA_FUZZ_CORPUS ($corpus); what a night gains is
                 added there, without what others make needless. --fuzz=SECONDS for another time
  --schedules    2000 random schedules of an engine's requests: each has the bits of running it alone, and no block is
                 left; --schedules=COUNT for another number
Without a check: all of them.
EOT
}

run_kills() {
  say "Ending commands $1 times by SIGKILL and by SIGTERM"
  bash tests/cli/kills.sh build/release/bin/diffllama . "$1" || die "a killed command left something wrong"
  say "Ending training $1 times by SIGKILL and by SIGTERM"
  bash tests/cli/kill_training.sh build/release/bin/diffllama . "$1" || die "a killed run did not go on as it should"
}

run_schedules() {
  say "Running $1 random schedules"
  DIFFLLAMA_SCHEDULES=$1 build/release/src/engine_test --gtest_filter='RandomSchedules.*' ||
    die "a schedule changed a request; DIFFLLAMA_SCHEDULE_SEED, printed above, repeats it"
}

run_night_of_fuzzers() {
  run_fuzzers "$1" "$corpus"
  minimise_corpora "$corpus"
}

[ $# -gt 0 ] || set -- --kills --schedules --fuzz
for check in "$@"; do
  case $check in
    --*=*[!0-9]* | --*=) usage >&2; printf 'nightly.sh: expected a number, got %s\n' "$check" >&2; exit 2 ;;
    --kills | --kills=* | --schedules | --schedules=* | --fuzz | --fuzz=*) ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; printf 'nightly.sh: expected a check listed above, got %s\n' "$check" >&2; exit 2 ;;
  esac
done
for check in "$@"; do
  case $check in --kills* | --schedules*)
    install_packages build
    configure release
    build release
    break ;;
  esac
done
for check in "$@"; do
  case $check in
    --kills) run_kills 200 ;;
    --kills=*) run_kills "${check#--kills=}" ;;
    --schedules) run_schedules 2000 ;;
    --schedules=*) run_schedules "${check#--schedules=}" ;;
    --fuzz) run_night_of_fuzzers 600 ;;
    --fuzz=*) run_night_of_fuzzers "${check#--fuzz=}" ;;
  esac
done
